'use strict';
const net = require('node:net');

function openSocket() {
  return net.createServer().listen(0); // SOCKET
}

function tick() {
  openSocket().close();
  setTimeout(tick, 100);
}

tick();
