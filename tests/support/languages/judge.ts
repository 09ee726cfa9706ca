// Judges the deliveries on its standard input, in lines of fields in base64.
import { isGenuine } from "./verify.ts";

const bytes = (base64: string) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
const text = (base64: string) => new TextDecoder().decode(bytes(base64));

const lines = (await new Response(Deno.stdin.readable).text()).trimEnd().split("\n");
for (const line of lines) {
  const [secret, now, id, timestamp, signature, body] = line.split(",");
  const headers = new Headers({
    "webhook-id": text(id),
    "webhook-timestamp": text(timestamp),
    "webhook-signature": text(signature),
  });
  console.log(await isGenuine(text(secret), headers, bytes(body), Number(text(now))));
}
