// Leaks COUNT sockets, PAUSE ms apart, and ends without closing them: their peer
// closes, and they are allowed to stay half open.
'use strict';
const net = require('node:net');

const kept = [];

function leakHere(port) {
  kept.push(net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })); // LEAK
}

const server = net.createServer(socket => socket.destroy());
server.listen(0, '127.0.0.1', async () => {
  for (let i = 0; i < +process.argv[2]; i++) {
    leakHere(server.address().port);
    await new Promise(next => setTimeout(next, +process.argv[3]));
  }
  // A connection that has just been closed by its peer is no leak yet.
  setTimeout(() => process.kill(process.pid, "SIGKILL"), 3000);
});
