// Chunks are loaded here: over http by fetch, from a disk (file://), where browsers refuse fetch, by
// a script element. One format both ways: P("NAME","<base64 of gzip>").

/** A file of the folder that cannot be read; the page shows the sentence. */
export class ChunkError extends Error {
  constructor(readonly file: string, reason: string) {
    super(`${file}: ${reason}`);
    this.name = "ChunkError";
  }
}

const arrived = new Map<string, string>();
const bytesOf = new Map<string, Promise<Uint8Array>>();
const jsonOf = new Map<string, Promise<unknown>>();

declare global {
  interface Window { P: (name: string, text: string) => void }
}
window.P = (name, text) => { arrived.set(name, text); };

const fileOf = (name: string) => `data/${name}.js`;
const addressOf = (name: string) => fileOf(name).split("/").map(encodeURIComponent).join("/");

/** The bytes of a chunk, decompressed; each is loaded once. */
export function bytes(name: string): Promise<Uint8Array> {
  let found = bytesOf.get(name);
  if (!found) {
    found = load(name);
    bytesOf.set(name, found);
    found.catch(() => bytesOf.delete(name));
  }
  return found;
}

/** A JSON chunk. */
export function json<T>(name: string): Promise<T> {
  let found = jsonOf.get(name);
  if (!found) {
    found = bytes(name).then((raw) => {
      bytesOf.delete(name);
      try {
        return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(raw));
      } catch {
        throw new ChunkError(fileOf(name), "is not the JSON that this page reads; export the atlas again");
      }
    });
    jsonOf.set(name, found);
    found.catch(() => jsonOf.delete(name));
  }
  return found as Promise<T>;
}

/** A binary chunk of items of `width` bytes, unshuffled. */
export async function items(name: string, width: number, count: number): Promise<ArrayBuffer> {
  const raw = await bytes(name);
  if (raw.length !== width * count) {
    throw new ChunkError(fileOf(name), `holds ${raw.length} bytes, ${width * count} were expected; export the atlas again`);
  }
  const plain = new Uint8Array(raw.length);
  for (let part = 0; part < width; part++) {
    for (let i = 0, at = part * count; i < count; i++, at++) plain[i * width + part] = raw[at]!;
  }
  return plain.buffer;
}

async function load(name: string): Promise<Uint8Array> {
  const text = location.protocol === "file:" ? await byScript(name) : await byFetch(name);
  let packed: Uint8Array;
  try {
    packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  } catch {
    throw new ChunkError(fileOf(name), "is damaged (not base64); copy the folder again or run `petriscope atlas verify`");
  }
  try {
    const stream = new Blob([packed as BlobPart]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new ChunkError(fileOf(name), "is damaged or cut short; copy the folder again or run `petriscope atlas verify`");
  }
}

async function byFetch(name: string): Promise<string> {
  let answer: Response;
  try {
    answer = await fetch(addressOf(name));
  } catch {
    throw new ChunkError(fileOf(name), "cannot be fetched; is the server still there?");
  }
  if (!answer.ok) throw new ChunkError(fileOf(name), `is missing (the server answered ${answer.status})`);
  const text = await answer.text();
  const head = `P(${JSON.stringify(name)},"`;
  const body = text.trimEnd();
  if (!body.startsWith(head)) throw new ChunkError(fileOf(name), "is not a file of this atlas");
  if (!body.endsWith('")')) {
    throw new ChunkError(fileOf(name), "is cut short; copy the folder again or run `petriscope atlas verify`");
  }
  return body.slice(head.length, -2);
}

function byScript(name: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = addressOf(name);
    const end = (reason: string) => {
      script.remove();
      const text = arrived.get(name);
      arrived.delete(name);
      if (text === undefined) reject(new ChunkError(fileOf(name), reason));
      else resolve(text);
    };
    script.onload = () => end("is not a file of this atlas, or is cut short; copy the folder again");
    script.onerror = () => end("is missing from the folder");
    document.head.append(script);
  });
}
