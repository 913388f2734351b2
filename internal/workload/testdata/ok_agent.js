// A Node HTTP server and a client with a keep-alive agent: a burst of requests
// grows its pool to eight connections, and then one request a second leaves
// most of them idle.
const http = require("http");

const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
const server = http.createServer((_, response) => response.end("yes"));
server.keepAliveTimeout = 0; // keeps idle connections for good

function ask(port) {
  return new Promise((resolve, reject) => {
    http
      .get({ port, host: "127.0.0.1", agent }, (response) => {
        response.resume();
        response.on("end", resolve);
      })
      .on("error", reject);
  });
}

server.listen(0, "127.0.0.1", async () => {
  const { port } = server.address();
  await Promise.all(Array.from({ length: 32 }, () => ask(port)));
  setInterval(() => ask(port), 1000);
  console.log("ready");
});
process.stdin.on("end", () => process.exit(0)).resume();
