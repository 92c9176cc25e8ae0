// A flow of five durable steps for Restate: each step is one POST. Environment: PORT to listen on, TARGET where
// steps are posted, PACKAGES with the SDK.

import { createRequire } from "node:module";
import http from "node:http";
import http2 from "node:http2";

// The SDK wants it; Node has it from 22 on, Debian's is older.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new Promise((done, failed) => ([resolve, reject] = [done, failed]));
  return { promise, resolve, reject };
};
const require = createRequire(`${process.env.PACKAGES}/`);
const restate = require("@restatedev/restate-sdk");
const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });

function post(number, step) {
  const body = JSON.stringify(step);
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  return new Promise((done, failed) => {
    const request = http.request(`${process.env.TARGET}/step/${number}`, { method: "POST", agent, headers }, (answer) => {
      answer.resume();
      answer.on("end", () => (answer.statusCode === 200 ? done() : failed(new Error(`status ${answer.statusCode}`))));
    });
    request.on("error", failed);
    request.end(body);
  });
}

const five = restate.service({
  name: "five",
  handlers: {
    run: async (context, event) => {
      for (let step = 0; step < 5; step++) {
        await context.run("post", () => post(5 * event.n + step, step));
      }
    },
  },
});

const logger = () => {};
http2.createServer(restate.createEndpointHandler({ services: [five], logger })).listen(Number(process.env.PORT), "127.0.0.1");
