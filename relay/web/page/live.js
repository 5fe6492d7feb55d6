// Server-sent events, and whether the server is there.

const SILENCE = 5000; // Milliseconds without a word (it says something each second).
const AGAIN = 2000; // Milliseconds until a new try, where the browser makes none by itself.

/**
 * Calls totals(body) each second and happened(body) for each event; isLost(why) as long as the
 * server is away (once or more), and isBack() when it is there, the first time too.
 */
export function follow({ totals, happened, isBack, isLost }) {
  let source = null;
  let heard = performance.now();
  let there = false;

  function lost(why) {
    there = false;
    isLost(why);
  }

  function open() {
    source?.close();
    heard = performance.now();
    source = new EventSource("/v1/live");
    source.addEventListener("totals", (event) => {
      heard = performance.now();
      if (!there) {
        there = true;
        isBack();
      }
      totals(JSON.parse(event.data));
    });
    source.addEventListener("happened", (event) => happened(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      lost("the connection ended");
      // After an answer that is no stream of events, say 503, a browser gives up.
      if (source.readyState === EventSource.CLOSED) setTimeout(open, AGAIN);
    });
  }

  setInterval(() => {
    if (performance.now() - heard < SILENCE || source.readyState === EventSource.CLOSED) return;
    lost("it says nothing");
    open();
  }, 1000);
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => event.persisted && open());
  open();
}
