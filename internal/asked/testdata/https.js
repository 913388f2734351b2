// An HTTPS server and a client that has a connection of its own for each request, as
// a load to measure by. argv: "server" and the directory of key.pem and cert.pem, or
// "client" and the port.
//
// Both take a line on standard input and answer with the CPU time of the process
// since the last one, in µs: the client makes so many requests before, eight at a
// time, in functions of four names.
const https = require('https'), fs = require('fs'), readline = require('readline');

let last = process.cpuUsage();
function answer() {
  const used = process.cpuUsage(last);
  last = process.cpuUsage();
  console.log(used.user + used.system);
}

function server(dir) {
  const pem = { key: fs.readFileSync(dir + '/key.pem'), cert: fs.readFileSync(dir + '/cert.pem') };
  const s = https.createServer(pem, (req, res) => res.end('well'));
  s.listen(0, '127.0.0.1', () => console.log(s.address().port));
  readline.createInterface({ input: process.stdin }).on('line', answer);
}

const asking = [
  function status(port, done) { get(port, '/status', done); },
  function orders(port, done) { get(port, '/orders', done); },
  function stock(port, done) { get(port, '/stock', done); },
  function prices(port, done) { get(port, '/prices', done); },
];

function get(port, path, done) {
  const options = { host: '127.0.0.1', port, path, agent: false, rejectUnauthorized: false };
  https.get(options, (res) => res.resume().on('end', done)).on('error', (e) => { throw e; });
}

function client(port) {
  readline.createInterface({ input: process.stdin }).on('line', (line) => {
    let begun = 0, ended = 0;
    const n = +line;
    const next = () => {
      if (begun < n) asking[begun++ % asking.length](port, done);
    };
    const done = () => {
      if (++ended === n) answer();
      else next();
    };
    last = process.cpuUsage();
    for (let i = 0; i < 8; i++) next();
  });
  console.log('ready');
}

if (process.argv[2] === 'server') server(process.argv[3]);
else client(+process.argv[3]);
