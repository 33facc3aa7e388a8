// Usage: node deploy.js PROJECT STAGE IMAGE [CREDENTIAL]
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import celery from "celery-node";
import { signature } from "./sign.js";

const { DW_REDIS_URL: url = "redis://127.0.0.1:6379/0", DW_PRODUCER, DW_SIGNING_KEY_FILE } = process.env;
const client = celery.createClient(url, url);

// Not client.sendTask: that returns before the message is sent, and doesn't tell if it can't be.
async function send(task, args, id = randomUUID()) {
  const message = client.createTaskMessage(id, task, [], args);
  if (DW_PRODUCER) {
    message.headers.dw_signature = signature(DW_PRODUCER, DW_SIGNING_KEY_FILE, task, id, args);
  }
  await client.isReady();
  await client.broker.publish(message.body, "", "celery", message.headers, message.properties);
  return id;
}

// Not AsyncResult: its get() tells nothing of progress.
async function* follow(id) {
  for (let seen; ; await pause(200)) {
    const meta = await client.backend.getTaskMeta(id); // null until a worker has begun
    if (meta && JSON.stringify(meta.result) !== seen) {
      seen = JSON.stringify(meta.result);
      yield meta;
    }
    if (["SUCCESS", "FAILURE", "REVOKED"].includes(meta?.status)) return;
  }
}

const [project, stage, image, credential] = process.argv.slice(2);
const id = await send("docker.deploy", { project, stage, image, ...(credential && { credential }) });
console.log(id);
for await (const { status, result } of follow(id)) {
  if (status === "PROGRESS") {
    console.log(result.step);
  } else if (status === "SUCCESS") {
    console.log(JSON.stringify(result.ports));
  } else if (status !== "STARTED") {
    const [sentence, facts] = result.exc_message;
    console.error(`${result.exc_type}: ${sentence} A retry can help: ${facts?.retryable}`);
    process.exitCode = 1;
  }
}
await client.disconnect();
