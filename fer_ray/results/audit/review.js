"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const review = JSON.parse($("review").textContent);
  // Encoded, so that nobody reads by chance where a face is from or that it comes twice.
  const bytes = Uint8Array.from(atob(review.sealed), (c) => c.charCodeAt(0));
  const { order, rows, earlier } = JSON.parse(new TextDecoder().decode(bytes));
  const STORE = `fer_ray-review-${review.id}`;
  const CANNOT_TELL = -1, LONGEST_S = 300, BREAK = 100;

  let answers = []; // of the faces shown so far, in their order: [label, seconds]
  let started = false, stored = false, copied = true, since = 0;
  let told = ""; // what the line about saving says in place of the time

  const isAnswer = (x) => Array.isArray(x) && Number.isInteger(x[0]) && Number.isFinite(x[1]) &&
    x[0] >= CANNOT_TELL && x[0] < review.classes.length;
  const nameOf = (label) => label === CANNOT_TELL ? "cannot tell" : review.classes[label];

  /** The answers in a saved state; throws, with the reason, if it is none of this review. */
  function read(text) {
    let state;
    try { state = JSON.parse(text); } catch { throw new Error("it is not a saved copy"); }
    if (!state || state.review === undefined) throw new Error("it is not a saved copy");
    if (state.review !== review.id) throw new Error(`it is of another review (${state.review})`);
    const found = state.answers;
    if (!Array.isArray(found) || found.length > order.length || !found.every(isAnswer))
      throw new Error("it is damaged");
    return found;
  }

  const state = () => JSON.stringify({ review: review.id, answers });

  function store() {
    try {
      localStorage.setItem(STORE, state());
      stored = localStorage.getItem(STORE) !== null;
    } catch { stored = false; }
  }

  function restore() {
    try {
      const text = localStorage.getItem(STORE);
      if (text !== null) answers = read(text);
    } catch { answers = []; } // it keeps nothing, or something damaged
    store();
    started = answers.length > 0;
  }

  function answer(label) {
    if ($("asking").hidden) return;
    const seconds = Math.min((performance.now() - since) / 1000, LONGEST_S);
    answers.push([label, Math.round(seconds * 10) / 10]);
    changed();
    if (answers.length === order.length) $("done-title").focus();
  }

  function back() {
    if (!started || !answers.length) return;
    answers.pop();
    changed();
  }

  function changed() {
    copied = false;
    told = "";
    store();
    show();
  }

  /** What a person said of every image so far: first and second answer, and the seconds. */
  function said() {
    const found = rows.map(() => []);
    answers.forEach((one, i) => found[order[i]].push(one));
    return found;
  }

  const cell = (value) => /[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value;

  function table() {
    const lines = [["index", "path", "label", "sample", "repeat_label", "seconds", "review"]];
    const name = (one) => one && one[0] !== CANNOT_TELL ? review.classes[one[0]] : "";
    said().forEach(([first, second], i) => {
      if (!first) return;
      const { index, path, sample } = rows[i];
      const again = second ? nameOf(second[0]) : "";
      lines.push([index, path, name(first), sample, again, first[1], review.id]);
    });
    for (const { index, path, label, sample } of earlier)
      lines.push([index, path, label, sample, "", "", ""]);
    return lines.map((line) => line.map(cell).join(",") + "\n").join("");
  }

  function download(name, text, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    copied = true;
    show();
  }

  const downloadTable = () => download(`labels-${review.id}.csv`, table(), "text/csv");

  async function load() {
    const [file] = $("load").files;
    $("load").value = "";
    if (!file) return;
    try {
      const found = read(await file.text());
      if (found.length < answers.length)
        throw new Error(`it has ${found.length} answers, this page ${answers.length}`);
      answers = found;
      started = true;
      changed();
      told = `Loaded ${file.name}`;
    } catch (error) {
      told = `Not loaded: ${error.message}`;
    }
    show();
  }

  function figures() {
    const seconds = answers.map(([, s]) => s).sort((a, b) => a - b);
    const pairs = said().filter((x) => x.length === 2);
    const same = pairs.filter(([a, b]) => a[0] === b[0]).length;
    const found = [
      ["faces", `${said().filter((x) => x.length).length}`],
      ["cannot tell", `${said().filter(([x]) => x && x[0] === CANNOT_TELL).length}`],
      ["median time", `${seconds[seconds.length >> 1]} s a face`],
    ];
    if (pairs.length) found.push(["same answer twice", `${same} of ${pairs.length} faces`]);
    $("figures").replaceChildren(...found.flatMap(([term, value]) => {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = term;
      dd.textContent = value;
      return [dt, dd];
    }));
  }

  function savedText() {
    if (told) return told;
    if (!answers.length) return "";
    if (stored) return "Saved in this browser";
    return copied ? "Saved in a file" : "Not saved: this browser keeps nothing. Save a copy!";
  }

  function show() {
    const num = answers.length, isDone = num === order.length;
    $("intro").hidden = started;
    $("asking").hidden = !started || isDone;
    $("done").hidden = !isDone;
    $("progress").max = order.length;
    $("progress").value = num;
    const pause = num && num % BREAK === 0 && !isDone ? " Time for a short break." : "";
    $("count").textContent = `${num} of ${order.length} answered.${pause}`;
    $("saved").textContent = savedText();
    $("saved").classList.toggle("bad", Boolean(num) && !stored && !copied);
    $("back").disabled = !num;
    $("csv").disabled = $("copy").disabled = !num;
    const last = num ? answers[num - 1][0] : null;
    $("last").textContent = num ? `Your last answer: ${nameOf(last)}` : "";
    if (isDone) figures();
    if (!started || isDone) return;
    const face = $("face"), image = review.images[order[num]];
    if (face.src !== image) face.src = image;
    face.alt = `Face ${num + 1} of ${order.length}`;
    since = performance.now();
    const next = new Image(); // decoded ahead
    next.src = review.images[order[Math.min(num + 1, order.length - 1)]];
  }

  function start() {
    started = true;
    show();
    $("asking").focus({ preventScroll: true }); // no answer: a ring around it would sway
  }

  function key(event) {
    if (event.repeat) {
      if (event.key === "Enter" || event.key === "Backspace") event.preventDefault();
      return;
    }
    if (event.ctrlKey || event.altKey || event.metaKey || $("keys").open) return;
    const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code);
    if (event.key === "?") $("keys").showModal();
    else if (event.code === "Backspace") back();
    else if (digit && Number(digit[1]) <= review.classes.length) answer(Number(digit[1]) - 1);
    else return;
    event.preventDefault();
  }

  for (const button of document.querySelectorAll("[data-label]"))
    button.addEventListener("click", () => answer(Number(button.dataset.label)));
  $("start").addEventListener("click", start);
  $("back").addEventListener("click", back);
  $("reopen").addEventListener("click", back);
  $("csv").addEventListener("click", downloadTable);
  $("finish").addEventListener("click", downloadTable);
  $("copy").addEventListener("click", () =>
    download(`review-${review.id}.json`, state(), "application/json"));
  $("load").addEventListener("change", load);
  $("help").addEventListener("click", () => $("keys").showModal());
  document.addEventListener("keydown", key);
  window.addEventListener("beforeunload", (event) => {
    if (answers.length && !stored && !copied) event.preventDefault();
  });
  restore();
  show();
})();
