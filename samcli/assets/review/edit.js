"use strict";
/** The editor of a served page: it sends what a person does to the server, and shows what has become of the image. */
window.samcliEditor = (page) => {
const { $, make, say } = page;
const TOOLS = [
  ["select", "v", "Select", "Choose objects; drag moves the image"],
  ["click", "s", "Click", "SAM: click into the object, with Shift or the right button beside it; drag a box around it"],
  ["brush", "d", "Brush", "Draw pixels of the object"],
  ["erase", "e", "Eraser", "Take pixels away"],
];
const versions = new Map();
let tool = "select", fresh = false, joining = false, radius = 12, lastClass = null, stroke = null, box = null, cursor = null;
let queue = Promise.resolve();

// ---- The server.

async function ask(address, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let answer, content;
  try {
    answer = await fetch(address, options);
    content = await answer.json();
  } catch {
    say("The server does not answer: the change is not saved. Is samcli review still running?", 8000);
    return null;
  }
  if (content.row) take(content);
  if (content.error) say(content.error, 5000);
  return answer.ok ? content : null;
}

/** An image as the server says that it is now. */
function take({ number, version, row }) {
  versions.set(number, version);
  page.replace(number, row);
}

/** Requests go one after the other: each is about the version that the one before has made. */
function then(work) {
  $("edit-note").classList.add("busy");
  queue = queue.then(work).catch((error) => say(String(error), 5000)).finally(() => { $("edit-note").classList.remove("busy"); tell(); });
  return queue;
}

const edit = (image, change) => then(async () => {
  const number = image.position;
  if (!versions.has(number)) await ask(`state/${number}`);
  return ask(`edit/${number}`, { version: versions.get(number), ...change });
});

const turn = (word) => then(async () => {
  const found = await ask(word, {});
  if (!found) return;
  say(word === "undo" ? "Undone." : "Done again.");
  page.show(found.number);
});

// ---- What a person does.

const selected = () => (fresh ? null : page.selected());
const classOf = () => selected()?.classId ?? lastClass ?? page.classIds()[0];

/** Change the object at hand, or begin a new one, which is at hand then. */
function change(what) {
  const image = page.open(), instance = selected(), begins = !instance;
  if (!image || image.failed !== null) return;
  edit(image, { class_id: classOf(), index: instance ? instance.index : null, ...what }).then(() => {
    if (!begins || !fresh) return;
    fresh = false;
    page.select(image.instances.at(-1) || null);
    tell();
  });
}

function clickAt([x, y], positive) { change({ do: "click", point: [x, y], positive }); }
function boxed(from, to) { change({ do: "click", box: [...from, ...to] }); }
function painted(points) { change({ do: "paint", stroke: points, radius: radius / page.scale(), erase: tool === "erase" }); }

function act(what) {
  const image = page.open(), instance = page.selected();
  if (!image || !instance) { say("Choose an object first."); return; }
  edit(image, { index: instance.index, ...what });
}

function setClass(classId) {
  lastClass = classId;
  if (selected()) act({ do: "class", class_id: classId });
  else tell();
}

function begin() {
  fresh = true;
  joining = false;
  page.select(null);
  if (tool === "select" || tool === "erase") choose("click");
  else tell();
}

function choose(name) {
  tool = name;
  joining = false;
  if (name !== "select" && !page.selected()) fresh = true;
  cursor = null;
  tell();
  page.redraw();
}

// ---- What the page shows of it.

function tell() {
  for (const [name] of TOOLS) $(`tool-${name}`).setAttribute("aria-pressed", String(name === tool));
  $("new-object").setAttribute("aria-pressed", String(fresh));
  $("join").setAttribute("aria-pressed", String(joining));
  const name = classOf() === undefined ? "" : page.className(classOf());
  $("edit-class").firstChild.textContent = `Class: ${name}`;
  $("edit-note").textContent = joining ? "Click the object to join" : fresh ? `New ${name}: click into it, box it, or draw it` :
    tool === "click" ? "Click: more. Shift: less. Drag: box. m: next answer" : tool === "select" ? "" : `Radius ${radius}: [ and ]`;
  $("stage").style.cursor = tool === "select" ? "crosshair" : tool === "click" ? "cell" : "none";
}

function button(id, text, key, title, action) {
  const element = make("button", "", { type: "button", id, title: `${title} (${key})`, "aria-keyshortcuts": key }, text);
  element.append(make("kbd", "", { "aria-hidden": "true" }, key));
  element.addEventListener("click", action);
  return element;
}

function buildTools() {
  const bar = make("div", "", { id: "tools", role: "toolbar", "aria-label": "Correct" }), tools = make("div", "group");
  for (const [name, key, text, title] of TOOLS) {
    const element = button(`tool-${name}`, text, key, title, () => choose(name));
    element.setAttribute("aria-pressed", "false");
    tools.append(element);
  }
  const size = make("label", "", {}, "Size"), range = make("input", "", { type: "range", min: 2, max: 80, value: radius, id: "radius", "aria-label": "Radius of brush and eraser" });
  range.addEventListener("input", () => { radius = Number(range.value); tell(); page.redraw(); });
  size.append(range);
  const turns = make("div", "group");
  turns.append(button("undo-edit", "Undo", "u", "Take the last change back", () => turn("undo")),
    button("redo-edit", "Redo", "y", "Make it again", () => turn("redo")));
  bar.append(tools, size,
    button("new-object", "New", "i", "Add an object", begin),
    button("next-answer", "Next answer", "m", "Take SAM's next answer to the last click", nextAnswer),
    button("edit-class", "Class", "t", "Change the class", openMenu),
    button("split", "Split", "p", "Make each part an object of its own", () => act({ do: "split" })),
    button("join", "Join", "g", "Join with the object that is clicked next", startJoin),
    turns, make("span", "rest", { id: "edit-note" }));
  $("stage").before(bar);
  $("viewer").classList.add("edits");
}

function nextAnswer() { if (page.open()) edit(page.open(), { do: "next" }); }
function startJoin() {
  joining = Boolean(page.selected()) && !joining;
  if (!page.selected()) say("Choose an object first.");
  tell();
}

// ---- The class menu: type-ahead, Enter takes the first.

function buildMenu() {
  const menu = make("dialog", "", { id: "class-menu", "aria-label": "Class of the object" });
  const search = make("input", "", { type: "search", id: "class-search", placeholder: "class name", autocomplete: "off", spellcheck: "false" });
  menu.append(search, make("ul", "", { id: "class-list" }));
  search.addEventListener("input", fillMenu);
  menu.addEventListener("keydown", (event) => {
    const rows = [...$("class-list").querySelectorAll("button")], at = rows.findIndex((row) => row.getAttribute("aria-current") === "true");
    if (event.key === "Enter") { event.preventDefault(); rows[Math.max(0, at)]?.click(); }
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by && rows.length) {
      event.preventDefault();
      rows[at]?.setAttribute("aria-current", "false");
      const next = rows[(at + by + rows.length) % rows.length];
      next.setAttribute("aria-current", "true");
      next.scrollIntoView({ block: "nearest" });
    }
    event.stopPropagation();
  });
  document.body.append(menu);
}

function fillMenu() {
  const needle = $("class-search").value.trim().toLowerCase();
  const ids = page.classIds(), match = (id) => page.className(id).toLowerCase();
  const found = ids.filter((id) => match(id).includes(needle))
    .sort((a, b) => match(b).startsWith(needle) - match(a).startsWith(needle)).slice(0, 100);
  const now = needle ? 0 : Math.max(0, found.indexOf(classOf()));
  $("class-list").replaceChildren(...found.map((id, place) => {
    const row = make("button", "", { type: "button", "aria-current": String(place === now) });
    row.append(page.swatch(id), make("span", "", {}, page.className(id)));
    if (ids.indexOf(id) < 9) row.append(make("kbd", "", {}, String(ids.indexOf(id) + 1)));
    row.addEventListener("click", () => { $("class-menu").close(); setClass(id); });
    const item = make("li");
    item.append(row);
    return item;
  }));
}

function openMenu() {
  if (!page.open()) return;
  $("class-search").value = "";
  fillMenu();
  $("class-menu").showModal();
  $("class-search").focus();
}

// ---- The pointer on the stage, and a cursor that the keyboard moves.

function down(event) {
  const at = page.toImage(event);
  if (joining) {
    const other = page.instanceAt(event);
    if (other && other !== page.selected()) act({ do: "join", other: other.index });
    joining = false;
    tell();
    return true;
  }
  if (tool === "select" || event.button === 1 || event.altKey) return false;
  if (tool === "click") box = { from: at, to: at, x: event.clientX, y: event.clientY, positive: !(event.shiftKey || event.button === 2), moved: false };
  else stroke = [at];
  $("stage").setPointerCapture(event.pointerId);
  return true;
}

function move(event) {
  cursor = page.toImage(event);
  if (box) {
    box.to = cursor;
    box.moved ||= Math.hypot(event.clientX - box.x, event.clientY - box.y) > 5;
  } else if (stroke) stroke.push(cursor);
  if (tool !== "select") page.redraw();
  return Boolean(box || stroke) || tool === "brush" || tool === "erase";
}

function up() {
  if (box) {
    const { from, to, positive, moved } = box;
    box = null;
    if (moved) boxed(from, to); else clickAt(from, positive);
    return true;
  }
  if (stroke) { const points = stroke; stroke = null; painted(points); return true; }
  return false;
}

function moveCursor(dx, dy) {
  const stride = 8 / page.scale(), [x, y] = cursor || page.middle();
  cursor = [x + dx * stride, y + dy * stride];
  page.redraw();
}

/** What is under way, drawn on the stage; `context` is in pixels of the image, `scale` of the screen each. */
function draw(context, scale) {
  context.lineWidth = 1.5 / scale;
  if (box?.moved) {
    context.strokeStyle = "#fff";
    context.setLineDash([4 / scale, 3 / scale]);
    context.strokeRect(box.from[0], box.from[1], box.to[0] - box.from[0], box.to[1] - box.from[1]);
    context.setLineDash([]);
  }
  if (stroke) {
    context.lineWidth = 2 * radius / scale;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = tool === "erase" ? "rgb(255 255 255 / 55%)" : "rgb(255 220 60 / 60%)";
    context.beginPath();
    stroke.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (stroke.length === 1) context.lineTo(stroke[0][0] + 0.01, stroke[0][1]);
    context.stroke();
  }
  if (!cursor || tool === "select") return;
  const [x, y] = cursor, size = (tool === "click" ? 7 : radius) / scale;
  for (const [style, wide] of [["rgb(0 0 0 / 70%)", 3], ["#fff", 1.2]]) {
    context.strokeStyle = style;
    context.lineWidth = wide / scale;
    context.beginPath();
    if (tool === "click") { context.moveTo(x - size, y); context.lineTo(x + size, y); context.moveTo(x, y - size); context.lineTo(x, y + size); }
    else context.arc(x, y, size, 0, 7);
    context.stroke();
  }
}

// ---- Keys that the page itself does not have.

const KEYS = {
  v: () => choose("select"), s: () => choose("click"), d: () => choose("brush"), e: () => choose("erase"),
  i: begin, m: nextAnswer, t: openMenu, p: () => act({ do: "split" }), g: startJoin,
  Delete: () => verdict([page.selected()], "no_object"), Backspace: () => verdict([page.selected()], "no_object"),
  "[": () => resize(-2), "]": () => resize(2),
};

function resize(by) {
  radius = Math.max(2, Math.min(80, radius + by));
  $("radius").value = radius;
  tell();
  page.redraw();
}

/** The action of a key, if it is one of the editor's. */
function actionOf(event) {
  if (event.key === "u") return () => turn("undo");
  if (event.key === "y") return () => turn("redo");
  if (!page.open()) return null;
  if (event.key === " ") return () => cursor && tool === "click" && clickAt(cursor, true);
  const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (by && event.shiftKey) return () => moveCursor(...by);
  if (/^[1-9]$/.test(event.key)) {
    const classId = page.classIds()[event.key - 1];
    return classId === undefined ? null : () => setClass(classId);
  }
  if (event.key === "-" && tool === "click") return () => cursor && clickAt(cursor, false);
  return KEYS[event.key] || null;
}

// ---- Marks: as in the file page, but saved at once.

function verdict(instances, mark) {
  const [first] = instances;
  if (!first) return;
  edit(first.image, { do: "verdict", indices: instances.map((one) => one.index), verdict: mark === "accept" ? null : mark });
}
const markImage = (image, mark) => edit(image, { do: "mark", mark });

/** An image is looked at: its newest state, and its embedding and the next ones' in good time. */
function opened(image) {
  fresh = joining = false;
  cursor = stroke = box = null;
  tell();
  if (image.failed === null || image.pending) then(() => ask(`open/${image.position}`, {}));
}

/** The masks of the images that the page came without. */
async function fillRows(from, total) {
  for (let first = from; first < total; first += 100) {
    try {
      const rows = await (await fetch(`rows/${first}`)).json();
      page.fill(first, rows);
    } catch { say("The server does not answer.", 5000); return; }
  }
  page.filled();
  performance.mark("samcli-filled");
}

buildTools();
buildMenu();
$("stage").addEventListener("contextmenu", (event) => event.preventDefault());
tell();
return { chosen: tell, down, move, up, draw, actionOf, verdict, markImage, opened, fillRows, undo: () => turn("undo") };
};
