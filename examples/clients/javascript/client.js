// The Hello, World client in JavaScript (npm zeromq): five requests, five replies.
//
//     node client.js [ENDPOINT]        default tcp://127.0.0.1:5555
//
// A REQ sends the next request only after the reply to the last one. So requests wait in a queue of our own, and say so
// when they enter it.

const zmq = require("zeromq");

const REPLY_MS_MAX = 5000;
const endpoint = process.argv[2] ?? "tcp://127.0.0.1:5555";

async function main() {
  console.log("Connecting to server...");
  const requester = new zmq.Request({ receiveTimeout: REPLY_MS_MAX, sendTimeout: REPLY_MS_MAX, linger: 0 });
  requester.connect(endpoint);

  const queue = [];
  for (let number = 1; number <= 5; number++) {
    console.log(`Sending request ${number}...`);
    queue.push("Hello");
  }

  let received = 0;
  for (const request of queue) {
    await requester.send(request);
    const [reply] = await requester.receive();
    console.log(`Received reply ${++received}: ${reply}`);
  }
  requester.close();
}

if (["-h", "--help"].includes(endpoint)) {
  console.log("usage: node client.js [ENDPOINT]        default tcp://127.0.0.1:5555");
  process.exit(0);
}

main().catch((error) => {
  if (error.code === "EAGAIN") {
    console.error(`cannot get five replies: no answer from ${endpoint} within ${REPLY_MS_MAX / 1000} s`);
    console.error("hint: is the bus running, with a back-end? scripts/run starts both");
  } else {
    console.error(`cannot get five replies: ${endpoint}: ${error.message}`);
    console.error("hint: an endpoint looks like tcp://127.0.0.1:5555");
  }
  process.exitCode = 1;
});
