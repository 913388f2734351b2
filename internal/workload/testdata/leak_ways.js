// Leaks connections to a server that never says anything, in every way that a program
// of Node has to make one, each in three functions of their own; and what two
// listeners accept, when the peer has closed it. argv: port of the server, ports to
// listen at. It begins three seconds after a line came on standard input.
const net = require('net'), tls = require('tls'), http = require('http'), https = require('https'), dns = require('dns');
const [port, api, admin] = process.argv.slice(2).map(Number);
const host = '127.0.0.1', to = { host, port };
const kept = [];
const keep = (s) => { s.on('error', () => {}); kept.push(s); };
const agent = new http.Agent({ keepAlive: true }), sagent = new https.Agent({ keepAlive: true });

function leak_net_a() { keep(net.connect(to)); }
function leak_net_b() { keep(net.connect(to)); }
function leak_net_c() { keep(net.connect(to)); }
function leak_tls_a() { keep(tls.connect(to)); }
function leak_tls_b() { keep(tls.connect(to)); }
function leak_tls_c() { keep(tls.connect(to)); }
function leak_http_a() { keep(http.get({ ...to, agent: false })); }
function leak_http_b() { keep(http.get({ ...to, agent: false })); }
function leak_http_c() { keep(http.get({ ...to, agent: false })); }
function leak_http_agent_a() { keep(http.get({ ...to, agent })); }
function leak_http_agent_b() { keep(http.get({ ...to, agent })); }
function leak_http_agent_c() { keep(http.get({ ...to, agent })); }
function leak_https_a() { keep(https.get({ ...to, agent: false })); }
function leak_https_b() { keep(https.get({ ...to, agent: false })); }
function leak_https_c() { keep(https.get({ ...to, agent: false })); }
function leak_https_agent_a() { keep(https.get({ ...to, agent: sagent })); }
function leak_https_agent_b() { keep(https.get({ ...to, agent: sagent })); }
function leak_https_agent_c() { keep(https.get({ ...to, agent: sagent })); }
function leak_fetch_a() { fetch(`http://${host}:${port}/a`).catch(() => {}); }
function leak_fetch_b() { fetch(`http://${host}:${port}/b`).catch(() => {}); }
function leak_fetch_c() { fetch(`http://${host}:${port}/c`).catch(() => {}); }
const lookup = (f) => () => dns.lookup('localhost', { family: 4 }, f);
const lookup_a = lookup(function leak_lookup_a(err, ip) { keep(net.connect(port, ip)); });
const lookup_b = lookup(function leak_lookup_b(err, ip) { keep(net.connect(port, ip)); });
const lookup_c = lookup(function leak_lookup_c(err, ip) { keep(net.connect(port, ip)); });
const chain = (f) => () => Promise.resolve(1).then((n) => n + 1).then(f);
const chain_a = chain(function leak_chain_a() { keep(net.connect(to)); });
const chain_b = chain(function leak_chain_b() { keep(net.connect(to)); });
const chain_c = chain(function leak_chain_c() { keep(net.connect(to)); });
const timer = (f) => () => setTimeout(f, 1);
const timer_a = timer(function leak_timer_a() { keep(net.connect(to)); });
const timer_b = timer(function leak_timer_b() { keep(net.connect(to)); });
const timer_c = timer(function leak_timer_c() { keep(net.connect(to)); });

function accepted(s) { s.resume(); keep(s); }
function listen_api() { net.createServer({ allowHalfOpen: true }, accepted).listen(api); }
function listen_admin() { net.createServer({ allowHalfOpen: true }, accepted).listen(admin); }

process.stdin.once('data', () => {
  console.log('ok');
  setTimeout(begin, 3000); // uprobes take a moment
});
function begin() {
  listen_api();
  listen_admin();
  [leak_net_a, leak_net_b, leak_net_c, leak_tls_a, leak_tls_b, leak_tls_c, leak_http_a, leak_http_b, leak_http_c,
    leak_http_agent_a, leak_http_agent_b, leak_http_agent_c, leak_https_a, leak_https_b, leak_https_c,
    leak_https_agent_a, leak_https_agent_b, leak_https_agent_c, leak_fetch_a, leak_fetch_b, leak_fetch_c,
    lookup_a, lookup_b, lookup_c, chain_a, chain_b, chain_c, timer_a, timer_b, timer_c,
  ].forEach((leak, i) => setInterval(leak, 1500 + 10 * i));
}
console.log('ready');
