"use strict";
(() => {
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const STORE = `samcli-review:${data.run}`;
const SHORT = { doubt: "doubt", detector_score: "score", predicted_iou: "IoU", stability: "stab", box_iou: "box", polygon_iou: "poly" };
const VERDICTS = [null, "bad_mask", "no_object"];  // as rows give them by number
const WORDS = { accept: "accepted", no_object: "no object", bad_mask: "bad mask", complete: "complete", exclude: "excluded", clear: "mark removed" };
const FIGURES = data.figures.map(([name, title], index) => ({ name, title, index }));

// ---- The run: images, and their instances in the order in which the run labelled them.

const images = data.images.map(imageOf);
function imageOf(row, position) {
  if (row.length === 1) return { key: row[0], position, failed: null, pending: true, width: 0, height: 0, before: null, omitted: 0, mark: null, unit: 1, instances: [], doubt: null };
  if (row.length === 2) return { key: row[0], position, failed: row[1], instances: [], doubt: null };
  const [key, width, height, rows, before = 0, omitted = 0] = row;
  const image = { key, position, width, height, before: before || null, omitted, mark: null, failed: null, unit: Math.min(1, data.detail / Math.max(width, height)) };
  image.instances = rows.map(([classId, verdict, hash, contours, box, ...figures], index) =>
    ({ image, index, classId, before: VERDICTS[verdict], hash, contours, box, figures, mark: null, shown: true, shape: null }));
  return image;
}
data.images = null;
let editor = null;

const className = (id) => data.names[id] || `class ${id}`;
/** Why an instance is rejected, by its mark or by an earlier review; null where it is not. */
const verdictOf = (instance) => instance.mark === "accept" ? null : instance.mark || instance.before;
const isRejected = (instance) => verdictOf(instance) !== null;

/** "complete" or "exclude", by the image's mark or an earlier review; a new bad mask ends an earlier "complete". */
function stateOf(image) {
  if (image.failed !== null) return null;
  if (image.mark) return image.mark === "clear" ? null : image.mark;
  const isNews = (instance) => verdictOf(instance) === "bad_mask" && instance.before !== "bad_mask";
  return image.before === "complete" && image.instances.some(isNews) ? null : image.before;
}

/** Whether an image shows objects without a label: trainers do not get it then. */
const isIncomplete = (image) => image.failed === null && stateOf(image) === null &&
  (image.omitted > 0 || image.instances.some((instance) => verdictOf(instance) === "bad_mask"));
const isExcluded = (image) => stateOf(image) === "exclude";
const shown = (image) => image.instances.filter((instance) => instance.shown);

const color = (classId) => data.colors[classId];
/** Whether a colour is lighter than a middle grey, by its luminance. */
function isLight(rgb) {
  const [red, green, blue] = rgb.split(" ").map(Number);
  return 0.299 * red + 0.587 * green + 0.114 * blue > 128;
}

/** The doubt of an image: the highest of its shown objects that are still labelled; null where none has any. */
function doubtOf(image) {
  let highest = null;
  for (const instance of image.instances) {
    const doubt = instance.figures[0];
    if (instance.shown && doubt !== null && !isRejected(instance) && (highest === null || doubt > highest)) highest = doubt;
  }
  return highest;
}

const decimal = (thousandths, digits = 2) => thousandths === null ? "–" : (thousandths / 1000).toFixed(digits);
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
/** Names may hold control characters and bytes that are no UTF-8 (lone surrogates). */
const printable = (text) => text.replace(/\p{C}/gu, (c) => `\\x${(c.codePointAt(0) & 0xff).toString(16).padStart(2, "0")}`);

// ---- Contours: see encode_contours in review/page.py.

const VALUES = new Uint8Array(128);
[..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"].forEach((c, i) => { VALUES[c.charCodeAt(0)] = i; });

/** An instance's outline as a path in contour coordinates, the area it encloses, and its box. */
function shapeOf(instance) {
  if (instance.shape) return instance.shape;
  const text = instance.contours, path = new Path2D(), box = [Infinity, Infinity, -Infinity, -Infinity];
  let at = 0, x = 0, y = 0, area = 0;
  const number = () => {
    let value = 0, shift = 0, digit;
    do {
      digit = VALUES[text.charCodeAt(at++)];
      value |= (digit & 31) << shift;
      shift += 5;
    } while (digit & 32);
    return value;
  };
  const signed = () => { const value = number(); return (value >> 1) ^ -(value & 1); };
  while (at < text.length) {
    let ring = 0, firstX = 0, firstY = 0, lastX = 0, lastY = 0;
    for (let count = number() >> 1, i = 0; i < count; i++) {
      x += signed();
      y += signed();
      if (i === 0) { path.moveTo(x, y); firstX = x; firstY = y; } else { path.lineTo(x, y); ring += lastX * y - x * lastY; }
      lastX = x; lastY = y;
      if (x < box[0]) box[0] = x;
      if (y < box[1]) box[1] = y;
      if (x > box[2]) box[2] = x;
      if (y > box[3]) box[3] = y;
    }
    ring += lastX * firstY - firstX * lastY;
    area = Math.max(area, Math.abs(ring) / 2);
    path.closePath();
  }
  instance.shape = { path, area, box };
  remember(instance.image);
  return instance.shape;
}

/** Shapes of the images looked at last are kept; more would fill the memory. */
const recent = new Set();
function remember(image) {
  recent.delete(image);
  recent.add(image);
  if (recent.size <= 400) return;
  const oldest = recent.values().next().value;
  recent.delete(oldest);
  for (const instance of oldest.instances) instance.shape = null;
}

/** Draw instances, large ones first; `scale` is screen pixels per contour unit. */
function draw(context, instances, scale, { lit = null, opacity = 0.38, line = 1.2 } = {}) {
  context.lineJoin = "round";
  const ordered = [...instances].sort((a, b) => shapeOf(b).area - shapeOf(a).area);
  for (const instance of ordered) {
    const { path } = shapeOf(instance), rgb = color(instance.classId), rejected = isRejected(instance);
    const dimmed = lit && lit !== instance;
    if (!rejected) {
      context.fillStyle = `rgb(${rgb} / ${dimmed ? opacity * 0.6 : instance === lit ? opacity * 1.3 : opacity})`;
      context.fill(path, "evenodd");
    }
    context.setLineDash([]);
    if (instance === lit) {
      context.strokeStyle = "rgb(0 0 0 / 60%)";
      context.lineWidth = (line + 3) / scale;
      context.stroke(path);
    } else {  // what is under it shows the outline on a ground of its own colour
      context.strokeStyle = rejected || isLight(rgb) ? "rgb(0 0 0 / 60%)" : "rgb(255 255 255 / 70%)";
      context.lineWidth = (line + (rejected ? 0.6 : 1.6)) / scale;
      context.stroke(path);
    }
    if (rejected) context.setLineDash(verdictOf(instance) === "no_object" ? [1.5 / scale, 4 / scale] : [4 / scale, 4 / scale]);
    context.strokeStyle = rejected ? "rgb(255 255 255 / 80%)" : `rgb(${rgb} / ${dimmed ? 70 : 100}%)`;
    context.lineWidth = (instance === lit ? line + 0.8 : line) / scale;
    context.stroke(path);
  }
  context.setLineDash([]);
}

// ---- Photos: beside the page, or embedded in it.

let pictures = null;
const picture = (image) => pictures && pictures[image.position] ? `data:image/jpeg;base64,${pictures[image.position]}` : null;

/** Percent-encoded bytes: what is no UTF-8 in a name came as a lone surrogate U+DC80..U+DCFF. */
const encodePath = (path) => [...path].map((c) => {
  const code = c.codePointAt(0);
  if (c === "/") return c;
  if (code >= 0xdc80 && code <= 0xdcff) return `%${(code & 0xff).toString(16)}`;
  return encodeURIComponent(code >= 0xd800 && code <= 0xdfff ? "\ufffd" : c);
}).join("");
const addressOf = (image) => data.served ? `image/${image.position}` : encodePath(data.images_at + image.key);

// ---- Marks.

const INSTANCE_MARKS = ["accept", "no_object", "bad_mask"], IMAGE_MARKS = ["complete", "exclude", "clear"];
let stored = true;
const undone = [];

function save() {
  const rows = [...markRows().map((m) => [m.key, m.index, m.hash, m.mark]), ...imageRows().map((m) => [m.key, null, null, m.mark])];
  try {
    if (rows.length) localStorage.setItem(STORE, JSON.stringify(rows));
    else localStorage.removeItem(STORE);
  } catch {
    if (stored) say("This browser keeps no marks for this page: download the review before you close it.", 8000);
    stored = false;
  }
}

/** Marks of an earlier visit; those on masks that are no longer there are left out. */
function load() {
  const byKey = new Map(images.map((image) => [image.key, image]));
  for (const image of images) {
    image.mark = null;
    for (const instance of image.instances) instance.mark = null;
  }
  try {
    for (const [key, index, hash, word] of JSON.parse(localStorage.getItem(STORE) || "[]")) {
      const image = byKey.get(key), instance = image?.instances[index], mark = word === "reject" ? "bad_mask" : word;  // an earlier page's
      if (index === null && image && image.failed === null && IMAGE_MARKS.includes(mark)) image.mark = mark;
      if (instance?.hash === hash && INSTANCE_MARKS.includes(mark)) instance.mark = mark;
    }
  } catch { /* no storage, or not what we wrote: begin without marks */ }
}

function markRows() {
  const rows = [];
  for (const image of images) {
    for (const { index, hash, mark } of image.instances) if (mark) rows.push({ key: image.key, index, hash, mark });
  }
  return rows;
}

const imageRows = () => images.filter((image) => image.mark).map(({ key, mark }) => ({ key, mark }));

/** Mark instances; marking them again as they are marked takes the mark away when `toggle`. */
function setMarks(instances, mark, toggle = false) {
  if (!instances.length) return;
  if (editor) { editor.verdict(instances, toggle && instances.every((one) => verdictOf(one) === mark) ? "accept" : mark); return; }
  undone.push(instances.map((instance) => [instance, instance.mark]));
  const same = toggle && instances.every((instance) => instance.mark === mark);
  for (const instance of instances) instance.mark = same ? null : mark;
  const what = instances.length === 1 ? className(instances[0].classId) : plural(instances.length, "object");
  say(`${what}: ${WORDS[same ? "clear" : mark]}`);
  changed();
}

/** Mark an image; marking it again as it is takes the mark away, an earlier review's too. */
function markImage(image, mark) {
  if (!image || image.failed !== null) return;
  if (editor) { editor.markImage(image, stateOf(image) === mark ? null : mark); return; }
  undone.push([[image, image.mark]]);
  const same = stateOf(image) === mark;
  image.mark = same ? null : mark;
  if (same && stateOf(image) === mark) image.mark = "clear";
  say(`image: ${WORDS[same ? "clear" : mark]}`);
  changed();
}

function undo() {
  if (editor) { editor.undo(); return; }
  const last = undone.pop();
  if (!last) { say("Nothing to undo."); return; }
  for (const [marked, mark] of last) marked.mark = mark;
  say("Undone.");
  const [marked] = last[0];
  if (viewer.open && marked.instances) showImage(marked);
  else if (viewer.open && marked.shown) showImage(marked.image, marked);
  changed();
}

function changed() {
  save();
  showCounts();
  for (const tile of tiles.values()) paint(tile);
  if (viewer.open) { refreshList(); drawStage(); }
}

function download() {
  const marks = markRows(), ofImages = imageRows();
  const review = { format: data.format, version: data.version, fingerprint: data.fingerprint, created: new Date().toISOString(), marks, images: ofImages };
  const address = URL.createObjectURL(new Blob([JSON.stringify(review, null, 1)], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = "review.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
  say(`${plural(marks.length + ofImages.length, "mark")} in review.json. Next:`, 15000, `${data.command} review.json`);
}

/** Put text on the clipboard; pages from files may have no other way than a selection. */
function copy(text) {
  const field = make("textarea", "", { readonly: "" }, text);
  $("toast").append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

let quiet = 0;
/** Say something for a while; `command`: to be copied and typed. */
function say(text, time = 1600, command = "") {
  const place = viewer.open ? viewer : document.body;  // a modal dialog hides what is outside it
  if ($("toast").parentNode !== place) place.append($("toast"));
  $("toast").textContent = text;
  if (command) {
    const button = make("button", "", { type: "button" }, "Copy");
    button.addEventListener("click", () => { copy(command); button.textContent = "Copied"; });
    $("toast").append(make("code", "", {}, command), button);
  }
  clearTimeout(quiet);
  quiet = setTimeout(() => { $("toast").textContent = ""; }, time);
}

// ---- Filters.

const filter = { classes: new Set(), ranges: FIGURES.map(() => [0, 1000]), search: "", show: "all" };
const narrows = () => filter.classes.size > 0 || filter.ranges.some(([low, high]) => low > 0 || high < 1000);
let visible = [], current = 0;

function passes(instance) {
  if (filter.classes.size && !filter.classes.has(instance.classId)) return false;
  return filter.ranges.every(([low, high], i) => {
    if (low <= 0 && high >= 1000) return true;
    const value = instance.figures[i];
    if (value === null) return false;
    return (low <= 0 || value >= low) && (high >= 1000 || value <= high);  // predictions may lie outside 0..1
  });
}

const SHOWS = {
  all: () => true,
  objects: (image) => image.instances.length > 0,
  empty: (image) => !image.failed && image.instances.every(isRejected),
  failed: (image) => image.failed !== null,
  unmarked: (image) => image.instances.some((i) => i.shown && !i.mark),
  marked: (image) => image.instances.some((i) => i.shown && i.mark),
  rejected: (image) => image.instances.some((i) => i.shown && isRejected(i)),
  no_object: (image) => image.instances.some((i) => i.shown && verdictOf(i) === "no_object"),
  bad_mask: (image) => image.instances.some((i) => i.shown && verdictOf(i) === "bad_mask"),
  incomplete: isIncomplete,
  complete: (image) => stateOf(image) === "complete",
  excluded: isExcluded,
};

function applyFilters() {
  const focus = visible[current], narrow = narrows(), needle = filter.search.toLowerCase();
  visible = images.filter((image) => {
    let any = false;
    for (const instance of image.instances) {
      instance.shown = !narrow || passes(instance);
      any ||= instance.shown;
    }
    return (any || !narrow) && image.key.toLowerCase().includes(needle) && SHOWS[filter.show](image);
  });
  for (const image of visible) image.doubt = doubtOf(image);
  if ($("sort").value === "doubt") visible.sort((a, b) => (b.doubt ?? -1) - (a.doubt ?? -1) || a.position - b.position);
  current = Math.max(0, visible.indexOf(focus));
  $("nothing").hidden = visible.length > 0;
  showCounts();
  clearTiles();
  layOut();
  if (!focus || visible[current] !== focus) $("scroller").scrollTop = 0;
  render();
}

function showCounts() {
  let objects = 0, marks = 0, rejected = 0, incomplete = 0, excluded = 0;
  for (const image of visible) for (const instance of image.instances) objects += instance.shown;
  for (const image of images) {
    for (const i of image.instances) { marks += i.mark !== null; rejected += isRejected(i); }
    marks += Boolean(image.mark);
    incomplete += isIncomplete(image);
    excluded += isExcluded(image);
  }
  const of = visible.length === images.length ? "" : ` of ${images.length.toLocaleString("en")}`;
  $("counts").textContent = `${visible.length.toLocaleString("en")}${of} image${images.length === 1 ? "" : "s"}, ${plural(objects, "object")}`;
  const withheld = [[incomplete, "incomplete"], [excluded, "excluded"]].filter(([count]) => count).map(([count, word]) => `, ${plural(count, "image")} ${word}`);
  $("marked").textContent = `${marks} marked, ${rejected} rejected${withheld.join("")}`;
  $("undo").disabled = !undone.length;
}

function buildFilters() {
  $("name").textContent = printable(data.name);
  $("name").title = `Run ${data.fingerprint.slice(0, 8)}`;
  document.title = `${printable(data.name)} – samcli review`;
  $("formula").textContent = `Doubt = ${data.formula}; of an image, its highest.`;
  $("help-doubt").textContent = `Doubt = ${data.formula}. A figure that is absent is left out. The doubt of an image is the highest of its shown objects that are not rejected.`;
  $("help-command").textContent = `${data.command} review.json`;
  buildClasses();
  buildFigures();
  for (const [id, event] of [["show", "change"], ["sort", "change"], ["search", "input"]]) {
    $(id).addEventListener(event, () => {
      if (id !== "sort") filter[id] = $(id).value;
      applyFilters();
      if (id === "sort") { current = 0; $("scroller").scrollTop = 0; render(); }
    });
  }
  $("reset").addEventListener("click", () => {
    filter.classes.clear();
    $("search").value = filter.search = "";
    $("show").value = filter.show = "all";
    document.querySelectorAll("#classes button").forEach((b) => b.setAttribute("aria-pressed", "false"));
    document.querySelectorAll(".range input").forEach((input) => { input.value = input.dataset.rest; input.dispatchEvent(new Event("input")); });
    applyFilters();
  });
}

function buildClasses() {
  const counts = new Map();
  for (const image of images) for (const { classId } of image.instances) counts.set(classId, (counts.get(classId) || 0) + 1);
  const ordered = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  for (const [classId, count] of ordered) {
    const button = make("button", "", { type: "button", "aria-pressed": "false" });
    button.append(swatch(classId), make("span", "label", {}, printable(className(classId))), make("span", "count", {}, count.toLocaleString("en")));
    button.addEventListener("click", () => {
      if (!filter.classes.delete(classId)) filter.classes.add(classId);
      button.setAttribute("aria-pressed", String(filter.classes.has(classId)));
      applyFilters();
    });
    const item = make("li");
    item.append(button);
    $("classes").append(item);
  }
  if (!ordered.length) $("classes").append(make("li", "formula", {}, "This run found no objects."));
}

function buildFigures() {
  for (const { title, index } of FIGURES) {
    const bins = new Array(50).fill(0);
    let any = false;
    for (const image of images) {
      for (const { figures } of image.instances) {
        if (figures[index] === null) continue;
        any = true;
        bins[Math.max(0, Math.min(49, Math.floor(figures[index] / 20)))]++;
      }
    }
    if (!any) continue;
    const box = make("div", "figure"), range = make("div", "range"), canvas = make("canvas");
    const output = make("output"), inputs = ["least", "most"].map((word, side) =>
      make("input", "", { type: "range", min: 0, max: 100, step: 1, value: side * 100, "data-rest": side * 100, "aria-label": `${title}, ${word}` }));
    const show = () => {
      const [low, high] = filter.ranges[index];
      output.textContent = `${decimal(low)} – ${decimal(high)}`;
      box.classList.toggle("narrowed", low > 0 || high < 1000);
      inputs.forEach((input, side) => input.setAttribute("aria-valuetext", decimal(filter.ranges[index][side])));
      drawBins(canvas, bins, low, high);
    };
    inputs.forEach((input, side) => {
      input.addEventListener("input", () => {
        const range = filter.ranges[index];
        range[side] = input.value * 10;
        if (range[0] > range[1]) { range[1 - side] = range[side]; inputs[1 - side].value = input.value; }
        show();
        soon();
      });
    });
    range.append(canvas, ...inputs);
    box.append(make("span", "", {}, title), output, range);
    $("figures").append(box);
    requestAnimationFrame(show);
    scheme.addEventListener("change", show);
  }
}

let waiting = 0;
function soon() {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(applyFilters);
}

/** How often each value occurs; square roots, so that few doubtful ones among many good ones are seen. */
function drawBins(canvas, bins, low, high) {
  const context = sharp(canvas), width = canvas.clientWidth, height = canvas.clientHeight;
  const most = Math.sqrt(Math.max(...bins)), style = getComputedStyle(document.documentElement);
  bins.forEach((count, i) => {
    if (!count) return;
    const inside = (i + 1) * 20 > low && i * 20 <= high, tall = Math.max(1, height * Math.sqrt(count) / most);
    context.fillStyle = style.getPropertyValue(inside ? "--soft" : "--line");
    context.fillRect(i * width / 50, height - tall, width / 50 - 1, tall);
  });
}

// ---- Small helpers.

const scheme = matchMedia("(prefers-color-scheme: dark)");

function make(tag, className = "", attributes = {}, text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return element;
}

function swatch(classId) {
  const element = make("span", "swatch", { "aria-hidden": "true" });
  element.style.background = `rgb(${color(classId)})`;
  return element;
}

/** A canvas's context, cleared, with as many pixels as the screen has there. */
function sharp(canvas, width = canvas.clientWidth, height = canvas.clientHeight) {
  const density = devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * density));
  canvas.height = Math.max(1, Math.round(height * density));
  const context = canvas.getContext("2d");
  context.setTransform(density, 0, 0, density, 0, 0);
  return context;
}

// ---- The grid: only tiles in or near the window exist.

const scroller = $("scroller"), grid = $("grid"), tiles = new Map();
const GAP = 8, MARGIN = 8, CAPTION = 24;
let columns = 1, tileWidth = 240, tileHeight = 200;

function layOut() {
  const width = scroller.clientWidth - 2 * MARGIN;
  columns = Math.max(1, Math.floor((width + GAP) / (212 + GAP)));
  tileWidth = Math.floor((width - GAP * (columns - 1)) / columns);
  tileHeight = Math.round(tileWidth * 0.72) + CAPTION;
  grid.style.height = `${Math.ceil(visible.length / columns) * (tileHeight + GAP)}px`;
}

function clearTiles() {
  for (const { item } of tiles.values()) item.remove();
  tiles.clear();
}

function render() {
  const top = scroller.scrollTop - MARGIN, step = tileHeight + GAP;
  const first = Math.max(0, Math.floor(top / step) - 1) * columns;
  const end = Math.min(visible.length, (Math.ceil((top + scroller.clientHeight) / step) + 1) * columns);
  const focused = document.activeElement;
  for (const [index, tile] of tiles) {
    if ((index < first || index >= end) && tile.element !== focused) { tile.item.remove(); tiles.delete(index); }
  }
  for (let index = first; index < end; index++) if (!tiles.has(index)) addTile(index);
  for (const [index, tile] of tiles) {
    tile.element.tabIndex = index === current ? 0 : -1;
    tile.element.classList.toggle("current", index === current);
  }
  clearTimeout(resting);
  resting = setTimeout(loadPhotos, 60);
}

/** Photos are asked for when scrolling rests: those that fly by are not. */
let resting = 0;
function loadPhotos() {
  for (const { image, photo } of tiles.values()) {
    if (photo.hasAttribute("src")) continue;
    photo.src = picture(image) || addressOf(image);
  }
}

function addTile(index) {
  const image = visible[index];
  const element = make("button", "tile", { type: "button", "data-index": index });
  const frame = make("span", "picture"), photo = make("img", "", { alt: "", decoding: "async", loading: "lazy", draggable: "false" });
  const caption = make("span", "caption"), file = make("bdi", "", {}, printable(image.key)), name = make("span", "file", { title: printable(image.key) });
  name.append(file);
  const tile = { image, element, photo, canvas: make("canvas"), badges: make("span", "badges"), facts: make("span", "facts"), why: make("span", "why") };
  tile.why.hidden = true;
  photo.addEventListener("error", () => {
    if (image.failed || !photo.hasAttribute("src")) return;
    tile.why.textContent = "photo not found";
    tile.why.hidden = false;
  });
  frame.append(photo, tile.why, tile.canvas, tile.badges);
  caption.append(name, tile.facts);
  element.append(frame, caption);
  element.classList.toggle("failed", image.failed !== null);
  Object.assign(element.style, {
    left: `${(index % columns) * (tileWidth + GAP)}px`,
    top: `${Math.floor(index / columns) * (tileHeight + GAP)}px`,
    width: `${tileWidth}px`,
    height: `${tileHeight}px`,
  });
  const item = make("div", "", { role: "listitem", "aria-setsize": visible.length, "aria-posinset": index + 1 });
  item.append(element);
  tile.item = item;
  grid.append(item);
  tiles.set(index, tile);
  paint(tile);
}

/** What a tile shows beside its photo; again whenever marks change. */
function paint({ image, element, canvas, badges, facts, why }) {
  badges.replaceChildren();
  if (image.failed !== null) {
    why.textContent = printable(image.failed);
    why.hidden = false;
    facts.textContent = "failed";
    element.setAttribute("aria-label", `${printable(image.key)}, failed: ${printable(image.failed)}`);
    return;
  }
  const instances = shown(image), kept = instances.filter((i) => !isRejected(i)).length;
  const rejected = instances.length - kept, accepted = instances.filter((i) => i.mark === "accept").length;
  const word = isIncomplete(image) ? "incomplete" : WORDS[stateOf(image)];
  facts.textContent = image.doubt === null ? plural(kept, "object") : `${kept} · doubt ${decimal(image.doubt)}`;
  facts.title = image.doubt === null ? "" : `${plural(kept, "object")}, doubt ${decimal(image.doubt)}`;
  element.setAttribute("aria-label", `${printable(image.key)}, ${plural(kept, "object")}${rejected ? `, ${rejected} rejected` : ""}${word ? `, ${word}` : ""}${image.doubt === null ? "" : `, doubt ${decimal(image.doubt)}`}`);
  if (accepted) badges.append(make("span", "badge accept", {}, String(accepted)));
  if (rejected) badges.append(make("span", "badge reject", {}, String(rejected)));
  if (word) badges.append(make("span", `badge ${word}`, {}, word));
  const width = tileWidth - 2, height = tileHeight - CAPTION - 2;
  const context = sharp(canvas, width, height);
  if (image.pending) return;
  const fit = Math.min(width / image.width, height / image.height);
  context.translate((width - image.width * fit) / 2, (height - image.height * fit) / 2);
  context.scale(fit / image.unit, fit / image.unit);
  draw(context, instances, fit / image.unit);
}

/** Make another image of the grid the current one. */
function move(to, focus = true) {
  if (!visible.length) return;
  current = Math.max(0, Math.min(visible.length - 1, to));
  const top = Math.floor(current / columns) * (tileHeight + GAP);
  if (top < scroller.scrollTop) scroller.scrollTop = top;
  else if (top + tileHeight + 2 * MARGIN > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = top + tileHeight + 2 * MARGIN - scroller.clientHeight;
  render();
  if (focus) tiles.get(current)?.element.focus({ preventScroll: true });
}

// ---- One image, large.

const viewer = $("viewer"), stage = $("stage"), photo = $("photo"), masks = $("masks");
const probe = document.createElement("canvas").getContext("2d");
const HIGH_DOUBT = 400, LOW_FIGURE = 750;  // thousandths: what the list shows in red
let open = null, selected = null, lit = null, withMasks = true, withNames = true;
let view = { scale: 1, x: 0, y: 0, fitted: true };

function openViewer(index) {
  current = index;
  if (!viewer.open) { viewer.showModal(); viewer.focus(); }
  showImage(visible[current]);
}

function showImage(image, instance = null) {
  const index = visible.indexOf(image);
  if (index < 0) return;
  current = index;
  const list = shown(image);
  const same = open === image;
  open = image;
  selected = instance || list[0] || null;
  lit = null;
  $("viewer-name").textContent = printable(image.key);
  $("viewer-position").textContent = `${current + 1} of ${visible.length}${image.width ? ` · ${image.width} × ${image.height}` : ""}`;
  $("previous").disabled = current === 0;
  $("next").disabled = current === visible.length - 1;
  if (!same) {
    note(image.failed === null ? "" : printable(image.failed));
    photo.removeAttribute("src");
    photo.src = addressOf(image);
    photo.alt = printable(image.key);
    buildList(list);
  }
  if (!same || view.fitted) fit();
  refreshList();
  if (!same) editor?.opened(image);
}

photo.addEventListener("error", () => {
  if (!photo.hasAttribute("src") || !open) return;
  const small = picture(open);
  if (small && photo.src !== small) photo.src = small;
  else if (open.failed === null) note("The photo is not where it was when this page was made.");
});
photo.addEventListener("load", () => {
  if (open && !open.width) { fit(); }
});

function note(text) {
  $("stage-note").textContent = text;
  $("stage-note").hidden = !text;
}

function buildList(list) {
  const hidden = open.instances.length - list.length;
  $("side-note").textContent = open.failed !== null ? "This image failed, so it has no objects." :
    `${plural(list.length, "object")}${hidden ? `, ${hidden} more outside the filters` : ""}`;
  $("head").hidden = !list.length;
  $("instances").replaceChildren(...list.map((instance) => {
    const row = make("li", "instance"), pick = make("button", "pick", { type: "button" });
    const name = printable(className(instance.classId));
    pick.append(swatch(instance.classId), make("span", "label", {}, name));
    for (const { index, title } of FIGURES) {
      const value = instance.figures[index];
      const low = value !== null && (index === 0 ? value > HIGH_DOUBT : index > 1 && value < LOW_FIGURE);
      pick.append(make("span", low ? "value low" : "value", { title }, decimal(value)));
    }
    pick.setAttribute("aria-label", `${name}, ${FIGURES.map(({ index, title }) => `${title} ${decimal(instance.figures[index])}`).join(", ")}`);
    pick.addEventListener("click", () => select(instance));
    row.append(pick);
    for (const [mark, sign, key] of [["accept", "✓", "a"], ["no_object", "∅", "n"], ["bad_mask", "✕", "b"]]) {
      const button = make("button", `mark ${mark}`, { type: "button", "aria-label": `${WORDS[mark]}: ${name}`, title: `${WORDS[mark]} (${key})` }, sign);
      button.addEventListener("click", () => { selected = instance; setMarks([instance], mark, true); });
      row.append(button);
    }
    row.addEventListener("pointerenter", () => light(instance));
    row.addEventListener("pointerleave", () => light(null));
    row.instance = instance;
    return row;
  }));
}

function refreshList() {
  for (const row of $("instances").children) {
    const { instance } = row, is = instance === selected;
    row.classList.toggle("current", is);
    row.classList.toggle("lit", instance === lit);
    row.classList.toggle("rejected", isRejected(instance));
    row.firstChild.setAttribute("aria-current", String(is));
    for (const mark of INSTANCE_MARKS) {
      row.querySelector(`.${mark}`).setAttribute("aria-pressed", String(mark === "accept" ? instance.mark === mark : verdictOf(instance) === mark));
    }
    if (is) row.scrollIntoView({ block: "nearest" });
  }
  for (const mark of ["complete", "exclude"]) {
    $(mark).disabled = open.failed !== null;
    $(mark).setAttribute("aria-pressed", String(stateOf(open) === mark));
  }
  $("image-note").textContent = isIncomplete(open) ? "Incomplete: it shows objects without a label, so trainers do not get it." :
    isExcluded(open) ? "Excluded: trainers do not get it." : "";
}

function select(instance) {
  selected = instance;
  refreshList();
  drawStage();
  editor?.chosen();
}

function light(instance) {
  if (lit === instance) return;
  lit = instance;
  for (const row of $("instances").children) row.classList.toggle("lit", row.instance === lit);
  drawStage();
}

const sizeOf = (image) => image.width ? [image.width, image.height] : [photo.naturalWidth || 1, photo.naturalHeight || 1];

/** The whole image, or a box of it (in its pixels), as large as the stage allows. */
function fit(box = null) {
  if (!open) return;
  const [width, height] = sizeOf(open), [x1, y1, x2, y2] = box || [0, 0, width, height], pad = 14;
  const scale = Math.min((stage.clientWidth - 2 * pad) / (x2 - x1), (stage.clientHeight - 2 * pad) / (y2 - y1), box ? 16 : 4);
  view = {
    scale,
    x: stage.clientWidth / 2 - scale * (x1 + x2) / 2,
    y: stage.clientHeight / 2 - scale * (y1 + y2) / 2,
    fitted: !box,
  };
  drawStage();
}

function zoomToSelected() {
  if (!view.fitted || !selected) { fit(); return; }
  const { unit } = open, [x1, y1, x2, y2] = shapeOf(selected).box.map((v) => v / unit);
  const margin = Math.max(x2 - x1, y2 - y1, 8) * 0.35;
  if (Number.isFinite(margin)) fit([x1 - margin, y1 - margin, x2 + margin, y2 + margin]);
}

function drawStage() {
  if (!open) return;
  const [width, height] = sizeOf(open);
  Object.assign(photo.style, {
    left: `${view.x}px`, top: `${view.y}px`, width: `${width * view.scale}px`, height: `${height * view.scale}px`,
    imageRendering: view.scale > 4 ? "pixelated" : "auto",
  });
  const context = sharp(masks);
  if (open.failed !== null) return;
  if (withMasks) drawObjects(context);
  if (!editor) return;
  const density = devicePixelRatio || 1;
  context.setTransform(density * view.scale, 0, 0, density * view.scale, density * view.x, density * view.y);
  editor.draw(context, view.scale);
}

function drawObjects(context) {
  const scale = view.scale / open.unit, target = lit || selected;
  context.translate(view.x, view.y);
  context.scale(scale, scale);
  draw(context, shown(open), scale, { lit: target, line: 1.6 });
  if (target?.box) {
    const [x1, y1, x2, y2] = target.box;
    context.setLineDash([5 / scale, 4 / scale]);
    for (const [style, wide] of [["rgb(0 0 0 / 55%)", 2.6], ["rgb(255 255 255 / 85%)", 1.1]]) {
      context.strokeStyle = style;
      context.lineWidth = wide / scale;
      context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    }
    context.setLineDash([]);
  }
  if (withNames) drawNames(context, scale, target);
}

/** Class names at the upper left corners of the objects: that of the object at hand first, then of large ones; those
    that would cover another name, and those of objects too small for one, are left out. */
function drawNames(context, scale, target) {
  const taken = [], size = 11;
  context.setTransform(devicePixelRatio || 1, 0, 0, devicePixelRatio || 1, 0, 0);
  context.font = `${size}px system-ui, sans-serif`;
  context.textBaseline = "top";
  const named = shown(open).filter((one) => one === target || !isRejected(one));
  named.sort((a, b) => (b === target) - (a === target) || shapeOf(b).area - shapeOf(a).area);
  for (const instance of named) {
    const [x1, y1, x2, y2] = shapeOf(instance).box;
    if (!Number.isFinite(x1) || (instance !== target && Math.max(x2 - x1, y2 - y1) * scale < 18)) continue;
    const name = printable(className(instance.classId)).slice(0, 32), width = context.measureText(name).width + 8;
    const left = Math.max(0, Math.min(view.x + x1 * scale, stage.clientWidth - width));
    const top = Math.max(0, view.y + y1 * scale - size - 6);
    if (taken.some(([l, t, r, b]) => left < r && left + width > l && top < b && top + size + 5 > t)) continue;
    taken.push([left, top, left + width, top + size + 5]);
    context.fillStyle = `rgb(${color(instance.classId)})`;
    context.fillRect(left, top, width, size + 5);
    context.fillStyle = isLight(color(instance.classId)) ? "#000" : "#fff";
    context.fillText(name, left + 4, top + 3);
  }
}

/** The smallest shown object at a point of the stage. */
function instanceAt(event) {
  if (!open || open.failed !== null) return null;
  const frame = stage.getBoundingClientRect(), unit = open.unit / view.scale;
  const x = (event.clientX - frame.left - view.x) * unit, y = (event.clientY - frame.top - view.y) * unit;
  return shown(open).filter((i) => probe.isPointInPath(shapeOf(i).path, x, y, "evenodd"))
    .sort((a, b) => shapeOf(a).area - shapeOf(b).area)[0] || null;
}

let drag = null;
stage.addEventListener("pointerdown", (event) => {
  if (open && editor?.down(event)) return;
  if (event.button > 1 || (event.button && !editor)) return;
  drag = { x: event.clientX, y: event.clientY, viewX: view.x, viewY: view.y, moved: false };
  stage.setPointerCapture(event.pointerId);
});
stage.addEventListener("pointermove", (event) => {
  if (open && !drag && editor?.move(event)) return;
  if (!drag) { light(instanceAt(event)); return; }
  const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
  if (!drag.moved && Math.hypot(dx, dy) < 4) return;
  drag.moved = true;
  view = { ...view, x: drag.viewX + dx, y: drag.viewY + dy, fitted: false };
  drawStage();
});
stage.addEventListener("pointerup", (event) => {
  if (open && !drag && editor?.up(event)) return;
  if (drag && !drag.moved) { const found = instanceAt(event); if (found) select(found); }
  drag = null;
});
stage.addEventListener("pointercancel", () => { drag = null; });
stage.addEventListener("pointerleave", () => light(null));
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const frame = stage.getBoundingClientRect(), x = event.clientX - frame.left, y = event.clientY - frame.top;
  const factor = Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016));
  const scale = Math.max(0.02, Math.min(40, view.scale * factor)), ratio = scale / view.scale;
  view = { scale, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio, fitted: false };
  drawStage();
}, { passive: false });

/** The next or previous object, on into the next or previous image. */
function step(by, leave = true) {
  const list = shown(open), at = list.indexOf(selected) + by;
  if (list[at]) { select(list[at]); return; }
  if (!leave || !visible[current + by]) return;
  const image = visible[current + by];
  showImage(image, by > 0 ? null : shown(image).at(-1));
}

function markSelected(mark) {
  if (!selected) return;
  setMarks([selected], mark);
  step(1, false);
}

viewer.addEventListener("close", () => {
  open = null;
  photo.removeAttribute("src");
  move(current);
});
$("close").addEventListener("click", () => viewer.close());
$("previous").addEventListener("click", () => showImage(visible[current - 1]));
$("next").addEventListener("click", () => showImage(visible[current + 1]));
$("fit").addEventListener("click", zoomToSelected);
$("complete").addEventListener("click", () => markImage(open, "complete"));
$("exclude").addEventListener("click", () => markImage(open, "exclude"));
$("toggle-masks").addEventListener("click", toggleMasks);
/** Masks with names, nothing, masks alone, and so on. */
function toggleMasks() {
  if (!withMasks) withNames = false;
  else if (!withNames) { withNames = true; drawStage(); return; }
  withMasks = !withMasks;
  $("toggle-masks").setAttribute("aria-pressed", String(withMasks));
  drawStage();
}

// ---- Keys.

const inViewer = {
  j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1),
  ArrowRight: () => showImage(visible[current + 1]), ArrowLeft: () => showImage(visible[current - 1]),
  a: () => markSelected("accept"), n: () => markSelected("no_object"), b: () => markSelected("bad_mask"), r: () => markSelected("bad_mask"),
  c: () => markImage(open, "complete"), x: () => markImage(open, "exclude"), o: toggleMasks, z: zoomToSelected,
};
const inGrid = {
  j: () => move(current + 1), k: () => move(current - 1),
  ArrowRight: () => move(current + 1), ArrowLeft: () => move(current - 1),
  ArrowDown: () => move(current + columns), ArrowUp: () => move(current - columns),
  Home: () => move(0), End: () => move(visible.length - 1),
  a: () => visible[current] && setMarks(shown(visible[current]), "accept"),
  n: () => visible[current] && setMarks(shown(visible[current]), "no_object"),
  b: () => visible[current] && setMarks(shown(visible[current]), "bad_mask"),
  r: () => visible[current] && setMarks(shown(visible[current]), "bad_mask"),
  c: () => markImage(visible[current], "complete"), x: () => markImage(visible[current], "exclude"),
  Enter: () => visible[current] && openViewer(current),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open || $("class-menu")?.open) return;
  const target = event.target, arrow = event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End";
  if (target.matches("input[type=search]") || (target.matches("select, input") && (arrow || target.matches("select")))) return;
  if (event.key === "Enter" && target.matches("button, select, input, a")) return;  // it presses what has the focus
  if (event.key === "?") { $("help").showModal(); event.preventDefault(); return; }
  const action = editor?.actionOf(event) ?? (event.key === "u" ? undo : null) ?? (viewer.open ? inViewer : inGrid)[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

grid.addEventListener("click", (event) => {
  const tile = event.target.closest(".tile");
  if (tile) openViewer(Number(tile.dataset.index));
});
grid.addEventListener("focusin", (event) => {
  const tile = event.target.closest(".tile");
  if (tile && Number(tile.dataset.index) !== current) { current = Number(tile.dataset.index); render(); }
});
$("undo").addEventListener("click", undo);
$("download").addEventListener("click", download);
$("open-help").addEventListener("click", () => $("help").showModal());
$("toggle-filters").addEventListener("click", () => {
  const on = document.body.classList.toggle("with-filters");
  $("toggle-filters").setAttribute("aria-expanded", String(on));
});
let scrolling = 0;
scroller.addEventListener("scroll", () => {
  cancelAnimationFrame(scrolling);
  scrolling = requestAnimationFrame(render);
}, { passive: true });
new ResizeObserver(() => {
  const before = tileWidth, first = Math.floor(scroller.scrollTop / (tileHeight + GAP)) * columns;
  layOut();
  if (tileWidth === before) { render(); return; }
  clearTiles();
  scroller.scrollTop = Math.floor(first / columns) * (tileHeight + GAP);
  render();
}).observe(scroller);
new ResizeObserver(() => { if (viewer.open) { if (view.fitted) fit(); else drawStage(); } }).observe(stage);
addEventListener("storage", (event) => {
  if (event.key === STORE) { load(); undone.length = 0; showCounts(); for (const tile of tiles.values()) paint(tile); if (viewer.open) { refreshList(); drawStage(); } }
});
document.addEventListener("DOMContentLoaded", () => {  // the pictures come after this script
  pictures = JSON.parse($("pictures").textContent);
  if (!Object.keys(pictures).length) return;
  for (const tile of tiles.values()) {
    const small = picture(tile.image);
    if (small) { tile.photo.src = small; if (tile.image.failed === null) tile.why.hidden = true; }
  }
});

// ---- A served page: the editor comes before this script.

/** Put a row of the server in the place of what was known of an image; its objects stay chosen. */
function replaceImage(position, row) {
  const image = images[position], index = selected?.image === image ? selected.index : null;
  recent.delete(image);
  const { failed, ...news } = imageOf(row, position);
  Object.assign(image, { failed: null, pending: false, ...news, failed });
  for (const instance of image.instances) {
    instance.image = image;
    instance.shown = !narrows() || passes(instance);
  }
  image.doubt = doubtOf(image);
  for (const tile of tiles.values()) if (tile.image === image) paint(tile);
  if (open === image) {
    selected = index === null ? selected?.image === image ? null : selected : image.instances[index] || null;
    buildList(shown(image));
    if (view.fitted) fit();
    refreshList();
    drawStage();
  }
}

function startEditor() {
  const ids = Object.keys(data.names).map(Number);
  const counts = new Map();
  for (const image of images) for (const { classId } of image.instances) counts.set(classId, (counts.get(classId) || 0) + 1);
  const ordered = ids.sort((a, b) => (counts.get(b) || 0) - (counts.get(a) || 0) || a - b);
  const started = window.samcliEditor({
    $, make, say, swatch, className: (id) => printable(className(id)), classIds: () => ordered,
    open: () => open, selected: () => selected, select, instanceAt, redraw: drawStage, scale: () => view.scale,
    show: (position) => { const found = images[position]; if (viewer.open && open !== found) showImage(found); },
    replace: (position, row) => { replaceImage(position, row); showCounts(); },
    fill: (first, rows) => rows.forEach((row, i) => { if (images[first + i].pending) replaceImage(first + i, row); }),
    filled: () => { $("classes").replaceChildren(); $("figures").replaceChildren(); buildClasses(); buildFigures(); applyFilters(); },
    toImage: (event) => {
      const frame = stage.getBoundingClientRect();
      return [(event.clientX - frame.left - view.x) / view.scale, (event.clientY - frame.top - view.y) / view.scale];
    },
    middle: () => [(stage.clientWidth / 2 - view.x) / view.scale, (stage.clientHeight / 2 - view.y) / view.scale],
  });
  for (const id of ["undo", "download"]) $(id).hidden = true;
  $("help-doubt").after(make("p", "", {}, "Each change is saved at once. In an open image: v select, s SAM's clicks, d brush, e eraser, i new object, " +
    "m SAM's next answer, t class, 1 to 9 the first classes, p split, g join, Delete, u undo, y redo. Shift and arrows move a cursor, Space clicks there, - clicks beside it."));
  const first = images.findIndex((image) => image.pending);
  if (first >= 0) started.fillRows(first, images.length);
  return started;
}

if (!data.served) load();
for (const { name, title } of FIGURES) {
  if (!$("head").children.length) $("head").append(make("span"), make("span"));
  $("head").append(make("span", "", { title }, SHORT[name]));
}
buildFilters();
if (data.served) editor = startEditor();
layOut();
applyFilters();
performance.mark("samcli-grid");
})();
