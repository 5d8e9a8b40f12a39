const server = require("http").createServer((req, res) => {
  if (req.method === "GET" && req.url === "/") {
    res.setHeader("Content-Type", "text/plain");
    res.end("Hello, world!");
  } else if (req.method === "POST" && req.url === "/echo") {
    const pieces = [];
    req.on("data", (piece) => pieces.push(piece));
    req.on("end", () => {
      const value = JSON.parse(Buffer.concat(pieces));
      res.setHeader("Content-Type", "application/json");
      res.end(JSON.stringify(value));
    });
  } else {
    res.writeHead(404);
    res.end();
  }
});
server.listen(0, "127.0.0.1", () => console.log("READY " + server.address().port));
