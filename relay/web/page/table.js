// A table whose rows the server pages, sorts and searches.

import { button, element, later, setText } from "./dom.js";
import { count } from "./format.js";

export const ROWS = 25;
const TYPING = 250; // Milliseconds without a key before the server is asked.

/**
 * columns: [{ title, sort, first, kind, fill(cell, row, rates) }]
 *   sort    the field that the server sorts by; without it the column has no button
 *   first   "-" where the first press sorts the other way round: the largest first
 *   kind    classes of its cells: number, desk (not on a phone), narrow (not in a narrow window)
 * load(query) resolves to { rows, total, next }: `next` is where the following page begins, and
 * null at the end. key(row) tells rows apart.
 */
export class Table {
  constructor({ section, title, noun, columns, key, load, sort = "", loaded, empty, tools = [] }) {
    Object.assign(this, { columns, key, load, noun, loaded, empty, sort });
    this.found = "";
    // Where each page begins, up to the one that is shown, and the one behind it.
    this.pages = [""];
    this.following = null;
    this.rows = new Map(); // By key: { element, cells, row, moved, time, rate }.
    this.asked = 0;
    this.build(section, title, tools);
  }

  // -- what it is made of

  build(section, title, tools) {
    const id = section.id;
    this.search = element("input", {
      type: "search", id: `${id}-search`, autocomplete: "off", spellcheck: "false",
      placeholder: "name, key or address",
    });
    this.search.addEventListener("input", later(TYPING, () => this.searched()));
    this.heads = this.columns.map((column) => this.head(column));
    this.body = element("tbody");
    this.table = element(
      "table", {},
      element("caption", {}, title),
      element("thead", {}, element("tr", {}, ...this.heads)),
      this.body,
    );
    this.none = element("p", { class: "none", hidden: true });
    this.shown = element("p", { class: "shown", role: "status" });
    this.previous = button("Previous", {}, () => this.turnBack());
    this.next = button("Next", {}, () => this.turnOn());
    section.append(
      element(
        "div", { class: "tools" },
        element("label", { for: `${id}-search` }, "Search"), this.search, ...tools,
      ),
      element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, this.table),
      this.none,
      element("div", { class: "pager" }, this.shown, this.previous, this.next),
    );
    this.showSort();
  }

  head(column) {
    const head = element("th", { scope: "col", class: column.kind });
    if (column.sort) {
      head.append(button(column.title, { class: "sort" }, () => this.sortBy(column)));
    } else if (column.hidden) {
      head.append(element("span", { class: "unseen" }, column.title));
    } else {
      head.append(column.title);
    }
    return head;
  }

  // -- what a person does with it

  searched() {
    this.found = this.search.value.trim();
    this.begin();
  }

  sortBy(column) {
    const first = (column.first ?? "") + column.sort;
    const other = first.startsWith("-") ? column.sort : `-${column.sort}`;
    this.sort = this.sort === first ? other : first;
    this.showSort();
    this.begin();
  }

  showSort() {
    this.columns.forEach((column, place) => {
      if (!column.sort) return;
      const sorted = { [column.sort]: "ascending", [`-${column.sort}`]: "descending" };
      this.heads[place].setAttribute("aria-sort", sorted[this.sort] ?? "none");
    });
  }

  /** Show the first page. */
  begin() {
    this.pages = [""];
    this.refresh();
  }

  turnOn() {
    if (this.following !== null) this.pages.push(this.following);
    this.refresh();
  }

  turnBack() {
    if (this.pages.length > 1) this.pages.pop();
    this.refresh();
  }

  // -- what the server says

  /** Ask again; an answer that comes behind a later question is left out. */
  async refresh() {
    const asked = (this.asked += 1);
    const query = { limit: ROWS, sort: this.sort, search: this.found, after: this.pages.at(-1) };
    const { rows, total, next } = await this.load(query);
    if (asked !== this.asked) return;
    if (!rows.length && this.pages.length > 1) return this.turnBack(); // They are gone.
    this.following = next;
    this.show(rows, total);
    this.loaded?.(rows);
  }

  show(rows, total) {
    const now = performance.now();
    const kept = new Map();
    for (const row of rows) {
      const key = this.key(row);
      const one = this.rows.get(key) ?? this.newRow();
      this.fill(one, row, now);
      kept.set(key, one);
    }
    this.rows = kept;
    this.place([...kept.values()].map((one) => one.element));
    this.showPage(rows.length, total);
  }

  newRow() {
    const cells = this.columns.map((column, place) =>
      element(place ? "td" : "th", { class: column.kind, scope: place ? undefined : "row" }));
    return { element: element("tr", {}, ...cells), cells, rate: null };
  }

  /** Rows stay where they are if they can: what has the focus keeps it. */
  place(elements) {
    const wanted = new Set(elements);
    for (const old of [...this.body.children]) if (!wanted.has(old)) old.remove();
    elements.forEach((one, place) => {
      const there = this.body.children[place];
      if (there !== one) this.body.insertBefore(one, there ?? null);
    });
  }

  fill(one, row, now) {
    const moved = row.moved ?? null;
    if (moved !== null && one.moved !== undefined && now - one.time > 500) {
      one.rate = Math.max(0, moved - one.moved) / ((now - one.time) / 1000);
    }
    if (one.moved === undefined || now - one.time > 500) Object.assign(one, { moved, time: now });
    one.row = row;
    this.columns.forEach((column, place) => column.fill(one.cells[place], row, one.rate));
  }

  showPage(length, total) {
    setText(this.shown, length ? this.placeOf(length, total) : "");
    setText(this.none, this.found ? `Nothing here has “${this.found}” in it.` : this.empty);
    this.none.hidden = length > 0;
    this.table.hidden = length === 0 && !this.found;
    const isFirst = this.pages.length === 1;
    this.previous.disabled = isFirst;
    this.next.disabled = this.following === null;
    this.previous.hidden = this.next.hidden = isFirst && this.following === null;
  }

  /** Which rows these are, in words. Of the events nobody counts all. */
  placeOf(length, total) {
    const first = (this.pages.length - 1) * ROWS + 1;
    const range = `${count(first)}–${count(first + length - 1)}`;
    return total === undefined ? `${range}, the newest first` : `${range} of ${count(total)} ${this.noun}`;
  }
}
