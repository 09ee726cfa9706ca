// Judges the deliveries on its standard input, in lines of fields in base64, with a module.
import { readFileSync } from "node:fs";

const { isGenuine } = await import(process.argv[2]);
for (const line of readFileSync(0, "utf8").trimEnd().split("\n")) {
  const [secret, now, id, timestamp, signature, body] = line.split(",").map((each) => Buffer.from(each, "base64"));
  const headers = { "webhook-id": `${id}`, "webhook-timestamp": `${timestamp}`, "webhook-signature": `${signature}` };
  console.log(isGenuine(`${secret}`, headers, body, Number(`${now}`)));
}
