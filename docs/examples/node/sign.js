import { createPrivateKey, randomBytes, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import canonicalize from "canonicalize";

// What the header dw_signature holds, for one message.
export function signature(producer, keyFile, task, id, args) {
  const time = Math.floor(Date.now() / 1000);
  const nonce = randomBytes(24).toString("base64url");
  const text = ["docker-watcher/1", task, id, producer, time, nonce, canonicalize(args)].join("\n");
  const value = sign(null, Buffer.from(text), createPrivateKey(readFileSync(keyFile)));
  return { producer, time, nonce, value: value.toString("base64") };
}
