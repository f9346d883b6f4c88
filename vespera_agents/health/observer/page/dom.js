/**
 * Makes elements, and keeps them as they should be with as few changes as possible.
 *
 * Text goes in as text only, so that no name of an actor, a task or a session can become markup; styles are set through
 * the object model, because the page's policy forbids them in attributes.
 */

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: attributes (`class`, `text` and `on...` among them), then children; what is null is left out. */
export function el(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

/** Make an element of a drawing. */
export function svg(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), attributes, children);
}

function furnish(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Set an element's text where it differs: an unchanged screen costs the browser nothing. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set or remove an attribute where it differs. */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** Replace what an element holds, but only if `mark` says that it has changed. */
export function renew(element, mark, make) {
  if (element.observerMark === mark) return;
  element.observerMark = mark;
  const focused = document.activeElement?.id;
  element.replaceChildren(...make());
  if (focused && document.activeElement?.id !== focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

/** Give a function that draws at most once per frame, however often it is called. */
export function perFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}

/** Remember a choice in this browser; where it keeps nothing, the choice lasts as long as the page. */
export function remember(name, value) {
  try {
    if (value === null) localStorage.removeItem(`observer-${name}`);
    else localStorage.setItem(`observer-${name}`, value);
  } catch {
    // Storage is switched off.
  }
}

/** Give a choice that was remembered, or null. */
export function remembered(name) {
  try {
    return localStorage.getItem(`observer-${name}`);
  } catch {
    return null;
  }
}
