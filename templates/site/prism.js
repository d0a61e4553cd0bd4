/* The report's own script: the period switch, the charts, the table of prompts. Everything a reader needs is in
   the page without it, in the default period. Text from data is only ever set as text, never as markup. */
(() => {
  "use strict";

  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const json = (id) => {
    const element = document.getElementById(id);
    return element ? JSON.parse(element.textContent) : null;
  };
  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };

  /* charts: drawn when they can be seen, from the page's rows and the shared specs */
  const chartData = json("chart-data");

  const draw = async (holder) => {
    const chart = chartData.charts[holder.dataset.chart];
    if (!chart || holder.dataset.state || !holder.offsetParent) return;
    holder.dataset.state = "drawing";
    const figure = holder.closest("figure");
    const still = figure.querySelector(".chart-static");
    if (still) still.hidden = true;
    const spec = { ...structuredClone(window.prismSpecs[chart.spec]), datasets: { points: chartData.rows[chart.rows] } };
    if (chart.height) spec.height = chart.height;
    try {
      await window.vegaEmbed(holder, spec, {
        actions: false,
        ast: true, // interprets Vega's expressions, so that the page needs no eval
        defaultStyle: false,
        loader: { load: () => Promise.reject(new Error("a report loads nothing")) },
        renderer: "svg",
        tooltip: { disableDefaultStyle: true },
      });
      figure.classList.add("drawn");
      holder.dataset.state = "drawn";
    } catch (error) {
      holder.replaceChildren();
      if (still) still.hidden = false;
      holder.dataset.state = "failed";
      console.error("chart", holder.dataset.chart, error);
    }
  };

  const drawVisible = () => {
    if (chartData && window.vegaEmbed) all("[data-chart]").forEach(draw);
  };

  /* the period switch, the same on every page for as long as the tab lives */
  const remembered = (name) => {
    try {
      return sessionStorage.getItem(`prism.${name}`);
    } catch {
      return null;
    }
  };
  const remember = (name, value) => {
    try {
      sessionStorage.setItem(`prism.${name}`, value);
    } catch {
      /* a browser that keeps nothing for files: each page starts with the default */
    }
  };
  const listeners = [];
  const choose = (period) => {
    all("[data-choose]").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.choose === period));
    });
    all("[data-period]").forEach((section) => {
      section.hidden = section.dataset.period !== period;
    });
    const chosen = document.querySelector(`[data-choose="${period}"]`);
    all("[data-period-title]").forEach((place) => {
      place.textContent = chosen.title;
    });
    all("[data-events]").forEach((events) => {
      const days = { day: 1, week: 7, month: 30, quarter: 90, year: 365 }[period] ?? Infinity;
      const last = Date.parse(document.querySelector(".as-of time").dateTime);
      [...events.children].forEach((event) => {
        event.hidden = (last - Date.parse(event.dataset.on)) / 86400000 >= days;
      });
      const none = events.parentElement.querySelector("[data-no-events]");
      none.hidden = [...events.children].some((event) => !event.hidden);
    });
    listeners.forEach((listener) => listener(period));
    drawVisible();
  };

  /* what the numbers of all prompts are read from: a script a file, since a page on disk may fetch nothing */
  const waiting = new Map();
  window.prismData = (name, value) => waiting.get(name).resolve(value);
  const load = (name) => {
    if (!waiting.has(name)) {
      const entry = {};
      entry.promise = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
      waiting.set(name, entry);
      const script = make("script", { src: `data/${name}.js` });
      script.addEventListener("error", () => entry.reject(new Error(`${name} can't be read`)));
      document.head.append(script);
    }
    return waiting.get(name).promise;
  };
  const collator = new Intl.Collator(undefined, { numeric: true });
  const [NAME, KEY, HREF, DOMAIN, STATUS, SUITE, COMPLEXITY, TAGS] = [0, 1, 2, 3, 4, 5, 6, 7];
  const cellOf = (list, numbers, n, column) => {
    const cells = numbers.cells[n];
    if (cells) return cells[column];
    if (list.columns[column].key === "health") return [0, list.healths.no_data[0]];
    return list.columns[column].key === "uses" ? [0, "0"] : [null, "–"];
  };
  const badge = (list, numbers, n) => {
    const health = numbers.health[n];
    const mark = make("span", { textContent: list.healths[health][1] });
    mark.setAttribute("aria-hidden", "true");
    return make("span", { className: `health ${health}` }, mark, ` ${list.healths[health][0]}`);
  };
  const small = (text) => make("span", { className: "fine-print", textContent: text });

  /* the table of prompts: searched, filtered, sorted and paged in place, with the columns a reader chose */
  const table = async () => {
    const element = document.getElementById("prompts");
    if (!element) return;
    const state = {
      period: null, query: "", facets: {}, sort: "uses", down: true, page: 0, everything: false, columns: [],
    };
    let numbers = null;
    let show = () => {};
    listeners.push(async (period) => {
      const wanted = await load(`prompts-${period}`);
      numbers = wanted;
      Object.assign(state, { page: 0, period });
      show();
    });
    const list = await load("prompts");
    const body = element.tBodies[0];
    const head = element.tHead.rows[0];
    const places = { domain: DOMAIN, status: STATUS, suite: SUITE, complexity: COMPLEXITY, tags: TAGS };
    const texts = list.prompts.map((one) => (
      [one[NAME], one[KEY], one[DOMAIN], ...one[TAGS]].join("\n").toLowerCase()
    ));
    const result = document.querySelector("[data-result]");
    const pager = document.querySelector(".pager");
    const boxes = all("[data-column]");
    const chosen = (remembered("columns") ?? "").split(" ").filter(Boolean);
    state.columns = list.columns.map((one) => (chosen.length ? chosen.includes(one.key) : one.shown));

    const row = (n) => {
      const one = list.prompts[n];
      const about = [one[DOMAIN], one[STATUS], one[SUITE]].filter(Boolean).join(" · ");
      const line = make("tr", {}, make(
        "th", { scope: "row" }, make("a", { href: one[HREF], textContent: one[NAME] }), small(about),
      ));
      list.columns.forEach((column, at) => {
        if (!state.columns[at]) return;
        const place = make("td", column.key === "health" ? {} : { className: "number" });
        place.dataset.label = column.label;
        if (column.key === "health") {
          place.append(badge(list, numbers, n));
        } else {
          const [, text, note] = cellOf(list, numbers, n, at);
          place.append(text);
          if (note) place.append(small(note));
        }
        line.append(place);
      });
      return line;
    };

    const wanted = () => {
      const words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
      const facets = Object.entries(state.facets).filter(([, value]) => value);
      const found = [];
      for (let n = 0; n < list.prompts.length; n += 1) {
        const fits = facets.every(([key, value]) => {
          if (key === "health") return numbers.health[n] === value;
          const own = list.prompts[n][places[key]];
          return key === "tags" ? own.includes(value) : own === value;
        });
        if (fits && words.every((word) => texts[n].includes(word))) found.push(n);
      }
      const sign = state.down ? -1 : 1;
      if (state.sort === "name") {
        found.sort((a, b) => sign * collator.compare(list.prompts[a][NAME], list.prompts[b][NAME]));
      } else {
        const at = list.columns.findIndex((one) => one.key === state.sort);
        const keys = new Map(found.map((n) => [n, cellOf(list, numbers, n, at)[0]]));
        found.sort((a, b) => {
          const [x, y] = [keys.get(a), keys.get(b)];
          if (x === null || y === null) return (x === null) - (y === null) || a - b; // the unknown always last
          return sign * (x - y) || a - b;
        });
      }
      return found;
    };

    const heading = (key, label, number) => {
      const arrow = make("span");
      arrow.setAttribute("aria-hidden", "true");
      const place = make("th", { scope: "col", className: number ? "number" : "" });
      place.dataset.sort = key;
      const button = make("button", { type: "button" }, label, arrow);
      if (key === state.sort) {
        place.setAttribute("aria-sort", state.down ? "descending" : "ascending");
        arrow.textContent = state.down ? " ▾" : " ▴";
      }
      button.addEventListener("click", () => {
        update({ sort: key, down: state.sort === key ? !state.down : key !== "name" });
        head.querySelector(`[data-sort="${key}"] button`).focus();
      });
      place.append(button);
      return place;
    };

    show = () => {
      if (!numbers) return;
      const found = wanted();
      const pages = Math.max(1, Math.ceil(found.length / list.rowsAPage));
      state.page = Math.min(Math.max(state.page, 0), pages - 1);
      const first = state.page * list.rowsAPage;
      const shown = state.everything ? found : found.slice(first, first + list.rowsAPage);
      head.replaceChildren(heading("name", "Prompt", false), ...list.columns
        .filter((_, at) => state.columns[at])
        .map((column) => heading(column.key, column.label, column.key !== "health")));
      body.replaceChildren(...shown.map(row));
      if (!found.length) {
        const none = make("td", { colSpan: head.cells.length, className: "nothing" });
        none.textContent = "No prompt fits. Search for less, or clear the filters.";
        body.append(make("tr", {}, none));
      }
      const count = list.prompts.length.toLocaleString("en");
      const states = Object.entries(list.healths)
        .map(([key, [word]]) => [found.filter((n) => numbers.health[n] === key).length, word.toLowerCase()])
        .filter(([number]) => number)
        .map(([number, word]) => `${number.toLocaleString("en")} ${word}`);
      result.textContent = (found.length === list.prompts.length
        ? `All ${count} prompts`
        : `${found.length.toLocaleString("en")} of ${count} prompts`)
        + (states.length ? `: ${states.join(", ")}` : "");
      pager.hidden = pages === 1;
      pager.querySelector("[data-pages]").textContent = `Page ${state.page + 1} of ${pages}`;
      const [before, after] = all("[data-page]", pager);
      before.disabled = state.page === 0;
      after.disabled = state.page === pages - 1;
      boxes.forEach((box) => {
        box.checked = state.columns[list.columns.findIndex((one) => one.key === box.dataset.column)];
      });
      element.dataset.ready = state.period;
    };
    const update = (change) => {
      Object.assign(state, { page: 0 }, change);
      show();
    };

    const find = document.querySelector("[data-find]");
    find.addEventListener("input", () => update({ query: find.value }));
    all("[data-facet]").forEach((select) => {
      select.addEventListener("change", () => {
        update({ facets: { ...state.facets, [select.dataset.facet]: select.value } });
      });
    });
    document.querySelector("[data-clear]").addEventListener("click", () => {
      find.value = "";
      all("[data-facet]").forEach((select) => {
        select.value = "";
      });
      update({ query: "", facets: {} });
    });
    boxes.forEach((box) => {
      box.addEventListener("change", () => {
        state.columns = list.columns.map((one, at) => (
          one.key === box.dataset.column ? box.checked : state.columns[at]
        ));
        remember("columns", list.columns.filter((_, at) => state.columns[at]).map((one) => one.key).join(" "));
        update({});
      });
    });
    all("[data-page]", pager).forEach((button) => {
      button.addEventListener("click", () => {
        state.page += Number(button.dataset.page);
        show();
        element.scrollIntoView({ block: "start" });
      });
    });
    window.addEventListener("beforeprint", () => update({ everything: true, page: state.page }));
    window.addEventListener("afterprint", () => update({ everything: false, page: state.page }));
    document.querySelector(".filters").hidden = false;
    show();
  };

  /* two or three prompts side by side, chosen by name */
  const compare = () => {
    const place = document.querySelector("[data-compare]");
    if (!place) return;
    const state = { period: null, list: null, chosen: [0, 1, -1] };
    const out = place.querySelector("[data-compared]");
    const inputs = all("input", place);

    const verdict = (one, other, cells) => {
      const [[low, , , high], [otherLow, , , otherHigh]] = cells;
      if (low === null || otherLow === null) return "";
      if (low > otherHigh) return `${one} succeeds more often than ${other} beyond chance: their 95 % intervals are apart.`;
      if (otherLow > high) return `${other} succeeds more often than ${one} beyond chance: their 95 % intervals are apart.`;
      return `Whether ${one} or ${other} succeeds more often can't be told: their 95 % intervals overlap.`;
    };

    const show = async () => {
      const { period, list } = state;
      const numbers = await load(`prompts-${period}`);
      if (period !== state.period) return;
      const some = state.chosen.filter((n) => n >= 0 && n < list.prompts.length);
      const head = make("tr", {}, make("th", { scope: "col", textContent: "Metric" }));
      some.forEach((n) => head.append(make("th", { scope: "col" }, make(
        "a", { href: list.prompts[n][HREF], textContent: list.prompts[n][NAME] },
      ), small(list.prompts[n][DOMAIN]))));
      const body = make("tbody");
      list.columns.forEach((column, at) => {
        const cells = some.map((n) => cellOf(list, numbers, n, at));
        const line = make("tr", {}, make("th", { scope: "row", textContent: column.label }));
        const known = cells.map((cell) => cell[0]).filter((value) => value !== null);
        const best = column.better === "up" ? Math.max(...known) : Math.min(...known);
        cells.forEach(([order, text, note], of) => {
          const cell = make("td");
          cell.dataset.label = list.prompts[some[of]][NAME];
          if (column.key === "health") cell.append(badge(list, numbers, some[of]));
          else cell.append(text);
          if (column.better && known.length > 1 && order === best && Math.max(...known) !== Math.min(...known)) {
            cell.append(" ", make("span", { className: "tag", textContent: "best here" }));
          }
          if (note) cell.append(small(note));
          line.append(cell);
        });
        body.append(line);
      });
      const words = make("ul", { className: "verdict-list" });
      const at = list.columns.findIndex((one) => one.key === "interval");
      for (let a = 0; a < some.length; a += 1) {
        for (let b = a + 1; b < some.length; b += 1) {
          const text = verdict(
            list.prompts[some[a]][NAME],
            list.prompts[some[b]][NAME],
            [cellOf(list, numbers, some[a], at), cellOf(list, numbers, some[b], at)],
          );
          if (text) words.append(make("li", { textContent: text }));
        }
      }
      out.replaceChildren(
        words, make("table", { className: "compared" }, make("thead", {}, head), body),
      );
      out.dataset.ready = period;
    };

    const start = async () => {
      state.list = await load("prompts");
      const names = document.getElementById("prompt-names");
      const called = state.list.prompts.map((one) => (one[KEY] ? `${one[NAME]} (${one[KEY]})` : one[NAME]));
      names.replaceChildren(...called.map((name) => make("option", { value: name })));
      inputs.forEach((input, at) => {
        input.value = called[state.chosen[at]] ?? "";
        input.addEventListener("change", () => {
          state.chosen[at] = state.list.prompts.findIndex((one, n) => (
            [called[n], one[NAME], one[KEY]].includes(input.value) && input.value !== ""
          ));
          input.setAttribute("aria-invalid", String(input.value !== "" && state.chosen[at] < 0));
          show();
        });
      });
      place.querySelector(".filters").hidden = false;
      show();
    };
    // nothing is read until a reader comes near
    const near = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      near.disconnect();
      start();
    }, { rootMargin: "400px" });
    near.observe(place);
    listeners.push((period) => {
      state.period = period;
      if (state.list) show();
    });
  };

  table();
  compare();
  all(".switch").forEach((element) => {
    element.hidden = false;
  });
  all("[data-choose]").forEach((button) => {
    button.addEventListener("click", () => {
      remember("period", button.dataset.choose);
      choose(button.dataset.choose);
    });
  });
  all("[data-show]").forEach((button) => {
    button.addEventListener("click", () => {
      all("[data-show]").forEach((one) => {
        one.setAttribute("aria-pressed", String(one === button));
      });
      all("[data-shown]").forEach((part) => {
        part.hidden = part.dataset.shown !== button.dataset.show;
      });
      drawVisible();
    });
  });
  if (document.querySelector("[data-choose]")) {
    const known = document.querySelector(`[data-choose="${CSS.escape(remembered("period") ?? "")}"]`);
    choose(known ? known.dataset.choose : document.body.dataset.defaultPeriod);
  } else {
    drawVisible();
  }
})();
