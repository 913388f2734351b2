// Three functions leak connections: the peer has closed them, they never do. The
// sockets are all made by the event loop, in a later tick. argv: port. A fourth
// function closes what it opens.
const net = require('net'), dns = require('dns');
const port = +process.argv[2];
const kept = [];
const keep = s => { s.resume(); kept.push(s); };

function leak_direct() { keep(net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })); }
function leak_named() { keep(net.connect({ port, host: 'localhost', family: 4, allowHalfOpen: true })); }
async function leak_later() { await null; keep(new net.Socket({ allowHalfOpen: true }).connect(port, '127.0.0.1')); }
function healthy() { const s = net.connect(port, '127.0.0.1', () => s.destroy()); }

setInterval(leak_direct, 150);
setInterval(leak_named, 160);
setInterval(leak_later, 170);
setInterval(healthy, 100);
console.log('ready');
