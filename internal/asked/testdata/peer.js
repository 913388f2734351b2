// Servers that take connections and never answer: TCP at a port, TLS, HTTP and
// HTTPS at the next ones, and one at a path. argv: directory of key.pem and
// cert.pem. Writes the port.
const net = require('net'), tls = require('tls'), http = require('http'), https = require('https'), fs = require('fs');
const dir = process.argv[2];
const pem = { key: fs.readFileSync(dir + '/key.pem'), cert: fs.readFileSync(dir + '/cert.pem') };
const quiet = s => s.on('error', () => {});
const servers = () => [net.createServer(quiet), tls.createServer(pem, quiet), http.createServer(() => {}), https.createServer(pem, () => {})];
const listen = (s, at) => new Promise((ok, no) => s.once('error', no).listen(at, '127.0.0.1', ok));

async function main() {
  for (let port = 20000 + process.pid % 20000; ; port += 7) {
    const all = servers();
    try {
      for (let i = 0; i < all.length; i++) await listen(all[i], port + i);
    } catch {
      all.forEach(s => s.close());
      continue;
    }
    net.createServer(quiet).listen(dir + '/peer.sock', () => console.log(port));
    return;
  }
}
main();
