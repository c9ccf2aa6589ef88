// The page. Text goes to v1/translate line by line: what a line becomes does not depend on the lines
// around it, so lines that are known are not asked for again. Everything from outside is written
// through textContent or value, never as markup.
"use strict";
{
  const kTypingPause = 150;       // ms without a key before a request
  const kPieceCharacters = 16000; // one request of a long text or file, far below the body limit
  const kPieceLines = 400;
  const kKnownLines = 5000;
  const kLanes = 2;               // pieces of a file on their way, so that the server never waits for the next
  const kStaleAfter = 250;        // ms until an old translation is shown as old

  const at = id => document.getElementById(id);
  const source = at("source"), target = at("target"), from = at("from"), to = at("to");
  const number = new Intl.NumberFormat("en");
  const languages = new Intl.DisplayNames(["en"], {type: "language", fallback: "code"});

  let models = [];
  const known = new Map(); // model and line → translation
  let typing = 0;          // timer
  let running = new AbortController();
  let job = null;          // the file being translated

  // ---- requests ----

  class Refusal extends Error {
    constructor(status, message, wait = null) {
      super(message);
      this.status = status;
      this.wait = wait; // seconds, when trying again makes sense
    }
  }

  async function refusalOf(response) {
    let message = `The server answered ${response.status}.`;
    try {
      const found = (await response.json()).error;
      message = found?.message ?? found ?? message;
    } catch { /* not JSON: the status has to do */ }
    const after = Number.parseFloat(response.headers.get("Retry-After"));
    if (response.status === 429) return new Refusal(429, "The server is busy.", after || 1);
    if (response.status === 503) return new Refusal(503, "The server is starting or stopping.", after || 3);
    return new Refusal(response.status, String(message).slice(0, 400));
  }

  async function ask(path, signal, body) {
    const options = {signal, headers: {}, cache: "no-store"};
    const key = sessionStorage.getItem("key");
    if (key) options.headers.Authorization = `Bearer ${key}`;
    if (body) {
      options.method = "POST";
      options.headers["Content-Type"] = "application/json";
      options.body = JSON.stringify(body);
    }
    let response;
    try {
      response = await fetch(path, options);
    } catch (error) {
      throw signal.aborted ? error : new Refusal(0, "The server can't be reached.", 2);
    }
    if (!response.ok) throw await refusalOf(response);
    return response;
  }

  function pause(seconds, signal) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, seconds * 1000);
      addEventListener("online", resolve, {once: true, signal});
      signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, {once: true});
    });
  }

  /** Does `task` again for as long as the server is only busy, away or out of reach. */
  async function patiently(task, signal) {
    for (let waited = false;; waited = true) {
      try {
        const result = await task();
        if (waited) say("", "up");
        return result;
      } catch (error) {
        if (signal.aborted || !error.wait) throw error;
        say(`${error.message} Trying again in ${Math.ceil(error.wait)} s.`, "down");
        await pause(error.wait, signal);
      }
    }
  }

  /** The server-sent events of a reply. */
  async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const {value, done} = await reader.read();
      if (done) return;
      text += value;
      for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
        const fields = text.slice(0, end).split("\n");
        const of = name => fields.filter(f => f.startsWith(`${name}:`)).map(f => f.slice(name.length + 1).trim()).join("\n");
        if (of("event")) yield {name: of("event"), data: JSON.parse(of("data"))};
      }
    }
  }

  // ---- what the user is told ----

  function say(message, state) {
    at("notice").textContent = message;
    at("notice").hidden = !message;
    at("server").dataset.state = state;
    at("server").textContent = state === "up" ? "Ready" : "Not ready";
  }

  function complain(error) {
    if (error.status === 401) {
      at("key-form").hidden = false;
      at("key").focus();
      return say(sessionStorage.getItem("key") ? "This key is not known here." : "", "down");
    }
    say(error.message, "up");
  }

  const speed = (words, ms) => `${number.format(Math.round(words * 1000 / Math.max(ms, 1)))} words/s`;
  const plural = (n, word) => `${number.format(n)} ${word}${n === 1 ? "" : "s"}`;

  // ---- languages ----

  const model = () => models.find(m => m.source === from.value && m.target === to.value);

  function nameOf(code) {
    try {
      return languages.of(code);
    } catch { // not a language code
      return code;
    }
  }

  function fill(select, codes, wanted) {
    select.replaceChildren(...codes.map(code => {
      const option = document.createElement("option");
      option.value = code;
      option.textContent = nameOf(code);
      return option;
    }));
    if (codes.includes(wanted)) select.value = wanted;
  }

  function chooseLanguages(wantedFrom, wantedTo) {
    fill(from, [...new Set(models.map(m => m.source))], wantedFrom);
    fill(to, models.filter(m => m.source === from.value).map(m => m.target), wantedTo);
    at("swap").disabled = !models.some(m => m.source === to.value && m.target === from.value && !m.unnamed);
    const chosen = model();
    source.lang = chosen?.unnamed ? "" : from.value;
    target.lang = chosen?.unnamed ? "" : to.value;
  }

  async function loadModels() {
    const control = new AbortController();
    try {
      const reply = await patiently(async () => (await ask("v1/models", control.signal)).json(), control.signal);
      at("key-form").hidden = true;
      // A model whose name tells no languages is offered under its name.
      models = reply.models.map(m => m.source && m.target ? m : {...m, source: m.name, target: m.name, unnamed: true});
      chooseLanguages(from.value, to.value);
      say("", "up");
      translate();
    } catch (error) {
      complain(error);
    }
  }

  // ---- text ----

  const keyOf = line => `${model()?.name}\n${line}`;

  function remember(line, translation) {
    if (known.size >= kKnownLines) known.clear();
    known.set(keyOf(line), translation);
  }

  /** Groups lines into requests. */
  function piecesOf(lines) {
    const pieces = [[]];
    let size = 0;
    for (const line of lines) {
      const last = pieces.at(-1);
      if (last.length > 0 && (last.length >= kPieceLines || size + line.length > kPieceCharacters)) {
        pieces.push([line]);
        size = line.length;
      } else {
        last.push(line);
        size += line.length;
      }
    }
    return pieces.filter(piece => piece.length > 0);
  }

  function show(lines) {
    const old = target.textContent.split("\n");
    const now = lines.map((line, i) => line.trim() ? known.get(keyOf(line)) ?? old[i] ?? "…" : "").join("\n");
    if (now !== target.textContent) target.textContent = now;
    at("copy").disabled = !now.trim();
  }

  async function translate() {
    clearTimeout(typing);
    running.abort();
    const control = running = new AbortController();
    const text = source.value;
    const lines = text.split("\n").map(line => line.toWellFormed?.() ?? line);
    at("clear").hidden = !text;
    at("count").textContent = text ? plural([...text].length, "character") : "";
    const name = model()?.name;
    if (!name) return;
    const missing = [...new Set(lines.filter(line => line.trim() && !known.has(keyOf(line))))];
    const stale = setTimeout(() => { target.dataset.state = "stale"; }, kStaleAfter);
    let words = 0, time = 0;
    try {
      show(lines);
      for (const piece of piecesOf(missing)) {
        const reply = await patiently(async () => {
          const started = performance.now();
          const found = await (await ask("v1/translate", control.signal, {model: name, text: piece})).json();
          time += performance.now() - started;
          return found;
        }, control.signal);
        if (control.signal.aborted) return;
        reply.translations.forEach((found, i) => remember(piece[i], found.text));
        words += reply.usage.source_words;
        show(lines);
      }
      delete target.dataset.state;
      say("", "up");
      if (missing.length > 0) at("speed").textContent = `${number.format(Math.round(time))} ms · ${speed(words, time)}`;
      if (!text) at("speed").textContent = "";
    } catch (error) {
      if (control.signal.aborted) return;
      target.dataset.state = "stale";
      complain(error);
    } finally {
      clearTimeout(stale);
    }
  }

  // ---- files ----

  /** The file as pieces of whole lines, each {index, text, size in bytes}; memory does not grow with it. */
  async function* filePieces(file) {
    const reader = file.stream().pipeThrough(new TextDecoderStream("utf-8", {fatal: true})).getReader();
    const encoder = new TextEncoder();
    let index = 0, rest = "";
    const piece = lines => ({index: index++, text: lines.join("\n"), size: encoder.encode(lines.join("\n")).length + 1});
    for (;;) {
      const {value, done} = await reader.read();
      const lines = (rest + (value ?? "")).split("\n");
      rest = done ? "" : lines.pop();
      for (const group of piecesOf(lines)) yield piece(group);
      if (done) return;
    }
  }

  async function translatePiece(piece, name, control, progress) {
    const lines = piece.text.split("\n").map(() => "");
    if (!piece.text.trim()) return {text: lines.join("\n"), words: 0, lines: lines.length};
    const response = await ask("v1/translate", control.signal, {model: name, text: piece.text, stream: true});
    for await (const event of events(response)) {
      if (event.name === "translation") {
        lines[event.data.line] = event.data.text;
        progress(piece, (event.data.line + 1) / lines.length, event.data.text);
      }
      if (event.name === "error") throw new Refusal(500, event.data.error.message);
      if (event.name === "done") return {text: lines.join("\n"), words: event.data.usage.source_words, lines: lines.length};
    }
    throw new Refusal(0, "The server went away.", 2);
  }

  async function translateFile(file) {
    if (!model()) return;
    job?.control.abort();
    if (job?.url) URL.revokeObjectURL(job.url);
    const mine = job = {control: new AbortController(), url: null};
    const {name, target: language, unnamed} = model();
    const results = [], shares = []; // by piece: translation, bytes done
    const started = performance.now();
    let words = 0, lines = 0, bytes = 0;
    at("job").hidden = false;
    at("job-name").textContent = file.name;
    at("job-state").textContent = "Starting";
    at("job-line").textContent = "";
    at("job-cancel").hidden = false;
    at("job-save").hidden = true;
    at("job-progress").value = 0;

    const progress = (piece, share, line) => {
      if (mine !== job) return;
      bytes += share * piece.size - (shares[piece.index] ?? 0);
      shares[piece.index] = share * piece.size;
      at("job-progress").value = Math.min(1, bytes / Math.max(file.size, 1));
      if (line) at("job-line").textContent = line;
    };
    const pieces = filePieces(file);
    const lane = async () => {
      for await (const piece of {[Symbol.asyncIterator]: () => ({next: () => pieces.next()})}) {
        const done = await patiently(() => translatePiece(piece, name, mine.control, progress), mine.control.signal);
        results[piece.index] = done.text;
        words += done.words;
        lines += done.lines;
        progress(piece, 1, "");
        const ms = performance.now() - started, share = at("job-progress").value;
        const left = share > 0 ? Math.ceil(ms / 1000 * (1 - share) / share) : 0;
        at("job-state").textContent = `${plural(lines, "line")} · ${speed(words, ms)} · ${number.format(left)} s left`;
      }
    };
    try {
      await Promise.all(Array.from({length: kLanes}, lane));
      const ms = performance.now() - started;
      const result = new Blob(results.map((text, i) => i ? `\n${text}` : text), {type: "text/plain;charset=utf-8"});
      const save = at("job-save");
      save.href = mine.url = URL.createObjectURL(result);
      save.download = file.name.replace(/(\.[^.]*)?$/, ending => `.${unnamed ? "translated" : language}${ending}`);
      save.hidden = false;
      at("job-progress").value = 1;
      at("job-line").textContent = "";
      at("job-state").textContent = `Done: ${plural(lines, "line")} in ${(ms / 1000).toFixed(1)} s · ${speed(words, ms)}`;
    } catch (error) {
      if (mine !== job) return;
      at("job-state").textContent = mine.control.signal.aborted && mine.cancelled ? "Cancelled" : "Stopped";
      if (error instanceof TypeError) say("This file is not UTF-8 text.", "up");
      else if (!mine.cancelled) complain(error);
      mine.control.abort();
    } finally {
      if (mine === job) at("job-cancel").hidden = true;
    }
  }

  function takeFiles(files) {
    if (files.length === 0) return;
    translateFile(files[0]);
    if (files.length > 1) say("One file at a time: the first one is being translated.", "up");
  }

  // ---- what the user does ----

  source.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(translate, kTypingPause);
  });
  addEventListener("keydown", event => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      translate();
    }
  });
  for (const select of [from, to]) {
    select.addEventListener("change", () => { chooseLanguages(from.value, to.value); translate(); });
  }
  at("swap").addEventListener("click", () => {
    const text = target.textContent;
    chooseLanguages(to.value, from.value);
    if (text.trim()) source.value = text;
    target.textContent = "";
    translate();
    source.focus();
  });
  at("clear").addEventListener("click", () => { source.value = ""; translate(); source.focus(); });
  at("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(target.textContent);
    } catch { // no clipboard outside a secure context
      getSelection().selectAllChildren(target);
      document.execCommand("copy");
    }
    at("copy").textContent = "Copied";
    setTimeout(() => { at("copy").textContent = "Copy"; }, 1500);
  });
  at("open").addEventListener("click", () => at("file").click());
  at("file").addEventListener("change", () => { takeFiles([...at("file").files]); at("file").value = ""; });
  at("job-cancel").addEventListener("click", () => { job.cancelled = true; job.control.abort(); });
  at("key-form").addEventListener("submit", event => {
    event.preventDefault();
    sessionStorage.setItem("key", at("key").value);
    at("key").value = "";
    loadModels();
  });

  const carriesFiles = event => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", event => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    at("drop").hidden = false;
  });
  addEventListener("dragleave", event => { if (!event.relatedTarget) at("drop").hidden = true; });
  addEventListener("drop", event => {
    at("drop").hidden = true;
    if (!carriesFiles(event)) return;
    event.preventDefault();
    takeFiles([...event.dataTransfer.files]);
  });

  loadModels();
}
