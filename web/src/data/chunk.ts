// Chunks are loaded here: over http by fetch, from a disk (file://), where browsers refuse fetch, by
// a script element. One format both ways: P("NAME","<base64 of gzip>"); a chunk that is too large for
// one file says how many more there are, P("NAME","...",2), and goes on in NAME~p1 and NAME~p2.

/** A file of the folder that cannot be read; the page shows the sentence. */
export class ChunkError extends Error {
  constructor(readonly file: string, reason: string) {
    super(`${file}: ${reason}`);
    this.name = "ChunkError";
  }
}

interface Piece { text: string; more: number }

const arrived = new Map<string, Piece>();
const bytesOf = new Map<string, Promise<Uint8Array>>();
const jsonOf = new Map<string, Promise<unknown>>();

declare global {
  interface Window { P: (name: string, text: string, more?: number) => void }
}
window.P = (name, text, more = 0) => { arrived.set(name, { text, more }); };

/** The name of a chunk as its file may be called everywhere: other bytes than letters, digits, _.-
 * and the / between folders become ~ and two hexadecimal digits (petriscope.web.chunks.safe). */
export const safe = (name: string): string => name.split("/").map((part) => {
  const bytes = new TextEncoder().encode(part);
  const text = Array.from(bytes, (b) => {
    const c = String.fromCharCode(b);
    return /[A-Za-z0-9_.-]/.test(c) ? c : `~${b.toString(16).padStart(2, "0")}`;
  }).join("");
  return text.startsWith(".") ? `~2e${text.slice(1)}` : text;
}).join("/");

const fileOf = (name: string) => `data/${safe(name)}.js`;

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
  const file = safe(name);
  const first = await piece(file);
  const rest = await Promise.all(Array.from({ length: first.more }, (_, k) => piece(`${file}~p${k + 1}`)));
  let packed: Uint8Array[];
  try {
    packed = [first, ...rest].map(({ text }) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
  } catch {
    throw new ChunkError(fileOf(name), "is damaged (not base64); copy the folder again or run `petriscope atlas verify`");
  }
  try {
    const stream = new Blob(packed as BlobPart[]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new ChunkError(fileOf(name), "is damaged or cut short; copy the folder again or run `petriscope atlas verify`");
  }
}

/** One file, by its name in data/ without .js. */
const piece = (file: string): Promise<Piece> => (location.protocol === "file:" ? byScript(file) : byFetch(file));

async function byFetch(file: string): Promise<Piece> {
  const path = `data/${file}.js`;
  let answer: Response;
  try {
    answer = await fetch(path);
  } catch {
    throw new ChunkError(path, "cannot be fetched; is the server still there?");
  }
  if (!answer.ok) throw new ChunkError(path, `is missing (the server answered ${answer.status})`);
  const text = await answer.text();
  const head = `P("${file}","`;
  const body = text.trimEnd();
  if (!body.startsWith(head)) throw new ChunkError(path, "is not a file of this atlas");
  const end = /"(?:,(\d+))?\)$/.exec(body.slice(-12));
  if (!end) throw new ChunkError(path, "is cut short; copy the folder again or run `petriscope atlas verify`");
  return { text: body.slice(head.length, body.length - end[0].length), more: Number(end[1] ?? 0) };
}

function byScript(file: string): Promise<Piece> {
  const path = `data/${file}.js`;
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = path;
    const end = (reason: string) => {
      script.remove();
      const found = arrived.get(file);
      arrived.delete(file);
      if (found === undefined) reject(new ChunkError(path, reason));
      else resolve(found);
    };
    script.onload = () => end("is not a file of this atlas, or is cut short; copy the folder again");
    script.onerror = () => end("is missing from the folder");
    document.head.append(script);
  });
}
