// Story 2: a health checker. It asks for the status alone, and looks at the
// body only when that is small: of a large response it neither reads the rest
// nor destroys the socket, and node stops reading when its buffers are full.
// HEAD and small responses give their connection back to the agent. The healthy
// twin destroys the response that it doesn't want.
//
//   health.js leak|ok HOST PORT CERTIFICATE
'use strict';
const fs = require('fs');
const https = require('https');

const [mode, host, port, certificate] = process.argv.slice(2);
const LIMIT = 64 * 1024;
const agent = new https.Agent({ keepAlive: true, ca: fs.readFileSync(certificate) });
let leaked = 0;

function check(method, path) {
  const req = https.request({ host, port, method, path, agent, servername: 'status.example' }, (res) => { // LEAK
    if (method === 'GET' && Number(res.headers['content-length']) > LIMIT) {
      if (mode === 'leak') console.log(`leaked ${++leaked}`);
      else res.destroy();
      return;
    }
    res.resume();
  });
  req.on('error', (err) => console.error(`${method} ${path}: ${err.message}`));
  req.end();
}

console.log(`peer ${host}:${port}`);
console.log('ready');
setInterval(() => {
  check('HEAD', '/large');
  check('GET', '/small');
  check('GET', '/large');
}, 1000);
process.stdin.on('end', () => process.exit(0)).resume();
