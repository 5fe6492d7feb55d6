// Ending what somebody does, which is asked first.

import { button, byId, setText } from "./dom.js";
import { post } from "./server.js";

const WORDS = {
  service: {
    title: "End this service?",
    text: "It is withdrawn and its open streams break. Whoever publishes it may do so again at " +
      "once: to keep them out, remove the key from authorized_keys.",
  },
  connection: {
    title: "End this connection?",
    text: "What it has published and opened ends with it. Its program may connect again at once: " +
      "to keep it out, remove the key from authorized_keys.",
  },
  stream: { title: "End this stream?", text: "Both sides see that it broke. They may open another." },
};

function say(text) {
  setText(byId("notice"), text);
}

/** The names of what an answer says was ended, in words. */
function ended(answer) {
  const parts = [
    [answer.legs.length, "connection"],
    [answer.services.length, "service"],
    [answer.streams.length, "stream"],
  ];
  const words = parts
    .filter(([number]) => number > 0)
    .map(([number, noun]) => `${number} ${noun}${number > 1 ? "s" : ""}`);
  return `Ended: ${words.join(", ")}.`;
}

async function end(what, done) {
  try {
    say(ended(await post("/v1/kick", { what })));
  } catch (error) {
    say(error.told ? `Not ended: ${error.message}.` : "Not ended: the server does not answer.");
  }
  done();
}

/** A button that asks, and then ends `what` (as `relay-server -O kick` names it). */
export function kickButton(kind, done) {
  let meant = null;
  const made = button("End …", { class: "kick" }, () => {
    const dialog = byId("kick");
    const { what, name } = meant;
    setText(byId("kick-title"), WORDS[kind].title);
    setText(byId("kick-name"), name);
    setText(byId("kick-text"), WORDS[kind].text);
    dialog.returnValue = "no"; // As Escape leaves it.
    dialog.addEventListener(
      "close", () => (dialog.returnValue === "yes" ? end(what, done) : undefined), { once: true },
    );
    dialog.showModal();
  });
  return {
    button: made,
    mean(what, name) {
      meant = { what, name };
      made.setAttribute("aria-label", `End ${kind} ${name}`);
    },
  };
}
