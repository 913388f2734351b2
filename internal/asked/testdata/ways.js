// Connects to the servers of peer.js in the ways that a program of Node has, each
// from functions of their own, and writes of each connection the inode number of
// its socket and the function that asked for it. argv: port. It begins when a
// line comes on standard input.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
process.removeAllListeners('warning');
const fs = require('fs'), net = require('net'), tls = require('tls'), http = require('http'), https = require('https');
const dns = require('dns'), dgram = require('dgram');
const port = +process.argv[2], host = '127.0.0.1';
const keep = [];
const kept = s => { s.on('error', () => {}); keep.push(s); };
const agent = new http.Agent({ keepAlive: true }), sagent = new https.Agent({ keepAlive: true });
const pause = ms => new Promise(r => setTimeout(r, ms));

function net1() { kept(net.connect(port, host)); }
function net2() { kept(net.connect(port, host)); }
function net3() { kept(net.connect(port, host)); }
function tls1() { kept(tls.connect(port + 1, host)); }
function tls2() { kept(tls.connect(port + 1, host)); }
function tls3() { kept(tls.connect(port + 1, host)); }
function http1() { kept(http.get({ host, port: port + 2, agent: false })); }
function http2() { kept(http.get({ host, port: port + 2, agent: false })); }
function http3() { kept(http.get({ host, port: port + 2, agent })); }
function http4() { kept(http.get({ host, port: port + 2, agent })); }
function https1() { kept(https.get({ host, port: port + 3, agent: false })); }
function https2() { kept(https.get({ host, port: port + 3, agent: false })); }
function https3() { kept(https.get({ host, port: port + 3, agent: sagent })); }
function https4() { kept(https.get({ host, port: port + 3, agent: sagent })); }
function fetch1() { fetch(`http://${host}:${port + 2}/1`).catch(() => {}); }
function fetch2() { fetch(`http://${host}:${port + 2}/2`).catch(() => {}); }
function fetch3() { fetch(`http://${host}:${port + 2}/3`).catch(() => {}); }
function lookup1() { kept(net.connect({ host: 'localhost', port, family: 4 })); }
function lookup2() { kept(net.connect({ host: 'localhost', port, family: 4 })); }
function dns1() { dns.lookup('localhost', { family: 4 }, function dnsDone(err, ip) { kept(net.connect(port, ip)); }); }
function eyeballs1() { kept(net.connect({ host: 'both', port, lookup: both })); }
function eyeballs2() { kept(net.connect({ host: 'both', port, lookup: both })); }
async function await1() { await null; await pause(1); kept(net.connect(port, host)); }
async function await2() { await null; await pause(1); kept(net.connect(port, host)); }
function promise1() { Promise.resolve().then(function promiseDone() { kept(net.connect(port, host)); }); }
function timer1() { setTimeout(function timerDone() { kept(net.connect(port, host)); }, 1); }
function udp1() { kept(dgram.createSocket('udp4').bind(0)); }
function udp2() { kept(dgram.createSocket('udp4').bind(0)); }
function unix1() { kept(net.connect(process.argv[3])); }
function unix2() { kept(net.connect(process.argv[3])); }
function listen1() { kept(net.createServer().listen(0)); }
function listen2() { kept(net.createServer().listen(0)); }
function open1() { const s = new net.Socket(); kept(s); s.connect(port, host); }

// A host with two addresses, at the first of which nobody listens.
function both(name, options, done) { done(null, [{ address: '127.0.0.2', family: 4 }, { address: host, family: 4 }]); }

function sockets() {
  const found = new Set();
  for (const fd of fs.readdirSync('/proc/self/fd')) {
    let to = '';
    try { to = fs.readlinkSync('/proc/self/fd/' + fd); } catch {} // the directory's own
    if (to.startsWith('socket:[')) found.add(to.slice(8, -1));
  }
  return found;
}

const inner = { dns1: 'dnsDone', promise1: 'promiseDone', timer1: 'timerDone' };

async function main() {
  for (let round = 0; round < 3; round++) {
    for (const ask of [net1, net2, net3, tls1, tls2, tls3, http1, http2, http3, http4, https1, https2, https3, https4,
      fetch1, fetch2, fetch3, lookup1, lookup2, dns1, eyeballs1, eyeballs2, await1, await2, promise1, timer1,
      udp1, udp2, unix1, unix2, listen1, listen2, open1]) {
      const before = sockets();
      ask();
      // On a busy machine what asks a thread first takes a while.
      for (let i = 0; i < 50 && ![...sockets()].some((inode) => !before.has(inode)); i++) await pause(20);
      await pause(40);
      for (const inode of sockets()) if (!before.has(inode)) console.log(inode, inner[ask.name] || ask.name);
    }
  }
  console.log('done');
}
process.stdin.once('data', main);
