// Sorting, filtering, copying, light and dark. Everything else of the site works without it.
"use strict";
(function () {
  var themes = ["light", "dark"];
  var store = {
    get: function () { try { return localStorage.getItem("mmbench-theme"); } catch (e) { return null; } },
    set: function (value) { try { localStorage.setItem("mmbench-theme", value); } catch (e) { /* asked not to */ } }
  };
  var kept = store.get();
  if (themes.indexOf(kept) >= 0) document.documentElement.dataset.theme = kept;

  function make(tag, attributes, text) {
    var element = document.createElement(tag);
    Object.keys(attributes).forEach(function (name) { element.setAttribute(name, attributes[name]); });
    if (text) element.textContent = text;
    return element;
  }

  function say(text) {
    var place = document.getElementById("said");
    if (place) place.textContent = text;
  }

  // --- light and dark ---------------------------------------------------------------------------

  function dark() {
    var chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function theme() {
    var place = document.getElementById("theme");
    if (!place) return;
    var button = make("button", { type: "button" }, "");
    function show() { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-label", (dark() ? "Light" : "Dark") + " colours"); }
    button.addEventListener("click", function () {
      var next = dark() ? "light" : "dark";
      document.documentElement.dataset.theme = next;
      store.set(next);
      show();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
    show();
    place.appendChild(button);
  }

  // --- sorting ----------------------------------------------------------------------------------

  function key(cell) {
    var text = cell.dataset.v !== undefined ? cell.dataset.v : cell.textContent.trim();
    if (text === "" || text === "-") return null;
    if (cell.tagName === "TH") return text.toLowerCase();
    var number = parseFloat(text.replace(/^\[/, "").replace(/,/g, ""));
    return isNaN(number) ? text.toLowerCase() : number;
  }

  function compare(a, b) {
    if (typeof a === typeof b) return typeof a === "string" ? a.localeCompare(b) : a - b;
    return typeof a === "number" ? -1 : 1;
  }

  function sort(table, column, heading, down) {
    var body = table.tBodies[0];
    var rows = Array.prototype.map.call(body.rows, function (row, place) {
      return { row: row, key: key(row.cells[column]), place: place };
    });
    rows.sort(function (a, b) {
      // What is missing stands last, whichever way.
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
      return (down ? -1 : 1) * compare(a.key, b.key) || a.place - b.place;
    });
    rows.forEach(function (each) { body.appendChild(each.row); });
    table.querySelectorAll("thead th[aria-sort]").forEach(function (th) { th.removeAttribute("aria-sort"); });
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  }

  function sortable(table) {
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (heading, column) {
      if (heading.dataset.sort === "no") return;
      var button = make("button", { type: "button", "class": "sort" }, "");
      while (heading.firstChild) button.appendChild(heading.firstChild);
      heading.appendChild(button);
      button.addEventListener("click", function () {
        var now = heading.getAttribute("aria-sort");
        var first = heading.dataset.sort === "down";
        var down = now ? now === "ascending" : first;
        sort(table, column, heading, down);
        say("sorted by " + button.textContent.trim() + ", " + (down ? "descending" : "ascending"));
      });
    });
  }

  // --- filtering --------------------------------------------------------------------------------

  function fill(select, values) {
    Object.keys(values).sort().forEach(function (value) {
      select.appendChild(make("option", { value: value }, value));
    });
  }

  function filters(form) {
    var groups = Array.prototype.map.call(document.querySelectorAll("[data-task]"), function (part) {
      var rows = Array.prototype.map.call(part.querySelectorAll("table[data-filter] > tbody > tr"), function (row) {
        return { row: row, model: row.querySelector("th").textContent.trim(), text: row.textContent.toLowerCase() };
      });
      return { part: part, rows: rows, task: part.dataset.task, budget: part.dataset.budget };
    });
    var total = 0, tasks = {}, models = {}, budgets = {};
    groups.forEach(function (group) {
      tasks[group.task] = budgets[group.budget] = true;
      group.rows.forEach(function (each) { models[each.model] = true; total += 1; });
    });
    var of = form.elements;
    fill(of.namedItem("task"), tasks);
    fill(of.namedItem("model"), models);
    fill(of.namedItem("budget"), budgets);
    function apply() {
      var words = of.namedItem("text").value.toLowerCase().split(/\s+/).filter(Boolean);
      var task = of.namedItem("task").value, model = of.namedItem("model").value, budget = of.namedItem("budget").value;
      var shown = 0;
      groups.forEach(function (group) {
        var fits = (!task || group.task === task) && (!budget || group.budget === budget), left = 0;
        group.rows.forEach(function (each) {
          var text = each.text + " " + group.task.toLowerCase() + " " + group.budget.toLowerCase();
          var here = fits && (!model || each.model === model) && words.every(function (word) { return text.indexOf(word) >= 0; });
          each.row.hidden = !here;
          left += here ? 1 : 0;
        });
        // A board without rows (nothing could be ranked) is there unless something is looked for.
        group.part.hidden = !(left || (fits && !group.rows.length && !model && !words.length));
        shown += left;
      });
      document.getElementById("count").textContent = shown + " of " + total + " rows";
    }
    form.addEventListener("input", apply);
    form.addEventListener("change", apply);
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    form.addEventListener("reset", function () { setTimeout(apply, 0); });
    form.hidden = false;
    apply();
  }

  // --- copying ----------------------------------------------------------------------------------

  function copy(code) {
    function old() {
      var range = document.createRange();
      range.selectNodeContents(code);
      var selection = getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      var done = document.execCommand("copy");
      selection.removeAllRanges();
      return done ? Promise.resolve() : Promise.reject(new Error("refused"));
    }
    if (!navigator.clipboard) return old();
    return navigator.clipboard.writeText(code.textContent).catch(old);
  }

  function copyable(box) {
    var code = box.querySelector("code");
    var button = make("button", { type: "button", "class": "copy" }, "Copy");
    button.addEventListener("click", function () {
      copy(code).then(function () { button.textContent = "Copied"; say("copied"); },
        function () { button.textContent = "Select it by hand"; });
      setTimeout(function () { button.textContent = "Copy"; }, 2000);
    });
    box.appendChild(button);
  }

  document.addEventListener("DOMContentLoaded", function () {
    theme();
    document.querySelectorAll("table.sortable").forEach(sortable);
    document.querySelectorAll("form.filters").forEach(filters);
    document.querySelectorAll(".command").forEach(copyable);
  });
})();
