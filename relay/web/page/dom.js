// Elements. What strangers have named is set as text, and never read as markup.

/** An element with attributes, classes and children; a string is text. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

export function button(text, attributes, pressed) {
  const made = element("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", pressed);
  return made;
}

/** Change a text only where it differs, so that a selection in it survives. */
export function setText(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

export function byId(id) {
  return document.getElementById(id);
}

/** Call it when there has been no other call for so long. */
export function later(milliseconds, call) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(call, milliseconds, ...values);
  };
}
