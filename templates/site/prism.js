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
  const remembered = () => {
    try {
      return sessionStorage.getItem("prism.period");
    } catch {
      return null;
    }
  };
  const remember = (period) => {
    try {
      sessionStorage.setItem("prism.period", period);
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
    listeners.forEach((listener) => listener(period));
    drawVisible();
  };

  /* the table of prompts: searched, filtered, sorted and paged in place */
  const table = () => {
    const data = json("prompt-data");
    const element = document.getElementById("prompts");
    if (!data || !element) return;
    const body = element.tBodies[0];
    const names = [...element.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    const [NAME, KEY, HREF, DOMAIN, STATUS, SUITE] = [0, 1, 2, 3, 4, 5];
    const places = { domain: DOMAIN, status: STATUS, suite: SUITE };
    const texts = data.prompts.map((one) => `${one[NAME]}\n${one[KEY]}\n${one[DOMAIN]}`.toLowerCase());
    const state = { period: null, query: "", facets: {}, sort: "uses", down: true, page: 0, everything: false };
    const result = document.querySelector("[data-result]");
    const pager = document.querySelector(".pager");

    const cell = (n, column) => {
      const cells = data.cells[state.period][n];
      if (cells) return cells[column];
      if (data.columns[column] === "health") return [0, data.healths.no_data[0], ""];
      return data.columns[column] === "uses" ? [0, "0", ""] : [null, "–", ""];
    };
    const small = (text) => make("span", { className: "fine-print", textContent: text });

    const row = (n) => {
      const one = data.prompts[n];
      const about = [one[DOMAIN], one[STATUS], one[SUITE]].filter(Boolean).join(" · ");
      const head = make(
        "th", { scope: "row" }, make("a", { href: one[HREF], textContent: one[NAME] }), small(about),
      );
      const line = make("tr", {}, head);
      data.columns.forEach((key, column) => {
        const [, text, note] = cell(n, column);
        const place = make("td", column ? { className: "number" } : {});
        place.dataset.label = names[column + 1];
        if (key === "health") {
          const health = data.health[state.period][n];
          const mark = make("span", { textContent: data.healths[health][1] });
          mark.setAttribute("aria-hidden", "true");
          place.append(make("span", { className: `health ${health}` }, mark, ` ${data.healths[health][0]}`));
        } else {
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
      for (let n = 0; n < data.prompts.length; n += 1) {
        const fits = facets.every(([key, value]) => (
          (key === "health" ? data.health[state.period][n] : data.prompts[n][places[key]]) === value
        ));
        if (fits && words.every((word) => texts[n].includes(word))) found.push(n);
      }
      const sign = state.down ? -1 : 1;
      if (state.sort === "name") {
        const collator = new Intl.Collator(undefined, { numeric: true });
        found.sort((a, b) => sign * collator.compare(data.prompts[a][NAME], data.prompts[b][NAME]));
      } else {
        const column = data.columns.indexOf(state.sort);
        const keys = new Map(found.map((n) => [n, cell(n, column)[0]]));
        found.sort((a, b) => {
          const [x, y] = [keys.get(a), keys.get(b)];
          if (x === null || y === null) return (x === null) - (y === null) || a - b; // the unknown always last
          return sign * (x - y) || a - b;
        });
      }
      return found;
    };

    const show = () => {
      const found = wanted();
      const pages = Math.max(1, Math.ceil(found.length / data.rowsAPage));
      state.page = Math.min(Math.max(state.page, 0), pages - 1);
      const first = state.page * data.rowsAPage;
      const shown = state.everything ? found : found.slice(first, first + data.rowsAPage);
      body.replaceChildren(...shown.map(row));
      if (!found.length) {
        const none = make("td", { colSpan: names.length, className: "nothing" });
        none.textContent = "No prompt fits. Search for less, or set the filters back to All.";
        body.append(make("tr", {}, none));
      }
      const count = data.prompts.length.toLocaleString("en");
      result.textContent = found.length === data.prompts.length
        ? `All ${count} prompts`
        : `${found.length.toLocaleString("en")} of ${count} prompts`;
      pager.hidden = pages === 1;
      pager.querySelector("[data-pages]").textContent = `Page ${state.page + 1} of ${pages}`;
      const [before, after] = all("[data-page]", pager);
      before.disabled = state.page === 0;
      after.disabled = state.page === pages - 1;
      [...element.tHead.rows[0].cells].forEach((head) => {
        if (head.dataset.sort === state.sort) {
          head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
        } else {
          head.removeAttribute("aria-sort");
        }
        head.querySelector("[data-arrow]").textContent =
          head.dataset.sort === state.sort ? (state.down ? " ▾" : " ▴") : "";
      });
    };
    const update = (change) => {
      Object.assign(state, { page: 0 }, change);
      show();
    };

    [...element.tHead.rows[0].cells].forEach((head) => {
      const arrow = make("span");
      arrow.dataset.arrow = "";
      arrow.setAttribute("aria-hidden", "true");
      const button = make("button", { type: "button" }, head.textContent.trim(), arrow);
      button.addEventListener("click", () => {
        const sort = head.dataset.sort;
        update({ sort, down: state.sort === sort ? !state.down : sort !== "name" });
      });
      head.replaceChildren(button);
    });
    document.querySelector("[data-find]").addEventListener("input", (event) => {
      update({ query: event.target.value });
    });
    all("[data-facet]").forEach((select) => {
      select.addEventListener("change", () => {
        update({ facets: { ...state.facets, [select.dataset.facet]: select.value } });
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
    listeners.push((period) => update({ period }));
    document.querySelector(".filters").hidden = false;
  };

  table();
  all(".switch").forEach((element) => {
    element.hidden = false;
  });
  all("[data-choose]").forEach((button) => {
    button.addEventListener("click", () => {
      remember(button.dataset.choose);
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
    const known = document.querySelector(`[data-choose="${CSS.escape(remembered() ?? "")}"]`);
    choose(known ? known.dataset.choose : document.body.dataset.defaultPeriod);
  } else {
    drawVisible();
  }
})();
