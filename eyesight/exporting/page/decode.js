"use strict";
// From an encoded file to planes of 8 bits: { width, height, planes: [grey] or [red, green, blue] }.
// What is not PNG the browser decodes; what would make it turn the picture or convert its colours
// is cut out of the file first.

const MOST_PIXELS = 64 * 2 ** 20;

function checkSize(width, height) {
  if (width * height > MOST_PIXELS) throw new BadPicture("huge");
  if (!width || !height) throw new BadPicture("damaged");
}

async function decode(bytes, depth) {
  if (!bytes.length) throw new BadPicture("empty");
  if (isPng(bytes)) return decodePng(bytes, depth);
  const { plain, notes } = withoutNotes(bytes);
  const bitmap = await decodeByBrowser(plain);
  checkSize(bitmap.width, bitmap.height);
  const image = fromDrawable(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  return upright(image, orientationOf(notes));
}

async function decodeByBrowser(plain) {
  try {
    const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
    return await createImageBitmap(new Blob([plain]), options);
  } catch (error) {
    throw new BadPicture("unreadable");
  }
}

// The pixels of a bitmap, a video or a canvas, on white.
function fromDrawable(drawable, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(drawable, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const planes = [0, 1, 2].map((band) => {
    const plane = new Uint8Array(width * height);
    for (let place = 0; place < plane.length; place++) plane[place] = data[4 * place + band];
    return plane;
  });
  return { width, height, planes };
}

function withoutNotes(bytes) {
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return jpegWithoutNotes(bytes);
  if (latin(bytes.subarray(0, 4)) === "RIFF" && latin(bytes.subarray(8, 12)) === "WEBP") {
    return webpWithoutNotes(bytes);
  }
  return { plain: bytes, notes: {} };
}

function jpegWithoutNotes(bytes) {
  const kept = [bytes.subarray(0, 2)];
  const notes = {};
  let place = 2;
  while (place + 4 <= bytes.length && bytes[place] === 0xff) {
    const marker = bytes[place + 1];
    if (marker === 0xff) { // a fill byte
      place += 1;
      continue;
    }
    if (marker === 0xda || marker === 0xd9) break;
    const end = place + 2 + ((bytes[place + 2] << 8) | bytes[place + 3]);
    const body = bytes.subarray(place + 4, end);
    const isNote = marker === 0xe1 || marker === 0xe2;
    if (isNote) readJpegNote(body, notes);
    else kept.push(bytes.subarray(place, end));
    place = end;
  }
  kept.push(bytes.subarray(place));
  return { plain: joined(kept, kept.reduce((sum, part) => sum + part.length, 0)), notes };
}

function readJpegNote(body, notes) {
  const start = latin(body.subarray(0, 29));
  if (start.startsWith("Exif\0\0") && !notes.exif) notes.exif = body;
  if (start.startsWith("http://ns.adobe.com/xap/1.0/\0")) notes.xmp = latin(body);
}

function webpWithoutNotes(bytes) {
  const plain = bytes.slice();
  const data = view(plain);
  const notes = {};
  for (let place = 12; place + 8 <= plain.length;) {
    const name = latin(plain.subarray(place, place + 4));
    const length = data.getUint32(place + 4, true);
    const body = bytes.subarray(place + 8, place + 8 + length);
    if (name === "EXIF") notes.exif = body;
    if (name === "XMP ") notes.xmp = latin(body);
    if (["EXIF", "XMP ", "ICCP"].includes(name)) plain[place] = 0x78; // an unknown part is skipped
    if (name === "VP8X") plain[place + 8] &= ~0x2c; // no profile, EXIF or XMP
    place += 8 + length + (length & 1);
  }
  return { plain, notes };
}
