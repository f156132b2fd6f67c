// On a narrow screen the forecast lies below the controls: go there when it is asked for.
addEventListener("click", (event) => {
  if (innerWidth > 760 || !event.target.closest("#kc-forecast")) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  document.getElementById("kc-results")?.scrollIntoView({behavior: calm ? "auto" : "smooth"});
});

// Of an event or upload that was refused, or never answered, Gradio's frontend (6.31) says "Error"
// and no word more. Here it becomes an answer as the page gives it where something is wrong.
const {fetch: ask} = window;
const answers = {"/gradio_api/run/predict": banner, "/gradio_api/upload": token};

window.fetch = async (address, options) => {
  const answer = answers[new URL(address, location).pathname];
  if (!answer) return ask(address, options);
  try {
    const received = await ask(address, options);
    if (received.ok) return received;
    return Response.json(await answer(sentence(await received.text())));
  } catch {
    return Response.json(await answer("The page cannot be reached. Please try again in a moment."));
  }
};

// What was told, as JSON or plainly.
function sentence(text) {
  try {
    return JSON.parse(text).error;
  } catch {
    return text;
  }
}

// As `page_event.banner` in Python.
function banner(text) {
  const shown = document.createElement("div");
  shown.className = "kc-banner";
  shown.role = "alert";
  shown.textContent = text;
  const [kept, hidden] = [{__type__: "update"}, {__type__: "update", visible: false}];
  const told = {__type__: "update", value: shown.outerHTML, visible: true};
  return {data: [told, hidden, hidden, hidden, kept, kept, kept]};
}

// As `upload_token.problem_token` in Python: the event that follows shows it.
async function token(text) {
  const content = new Blob([JSON.stringify({problem: text})]).stream();
  const packed = new Response(content.pipeThrough(new CompressionStream("deflate")));
  const bytes = new Uint8Array(await packed.arrayBuffer());
  const letters = btoa(String.fromCharCode(...bytes));
  const safe = letters.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return [`kalecast-table-1.${safe}`];
}
