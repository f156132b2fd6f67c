// On a narrow screen the forecast lies below the controls: go there when it is asked for.
addEventListener("click", (event) => {
  if (innerWidth > 760 || !event.target.closest("#kc-forecast")) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  document.getElementById("kc-results")?.scrollIntoView({behavior: calm ? "auto" : "smooth"});
});

// Of a file that is too large Gradio's frontend says so for ten seconds, above the old forecast.
// Here it stays, in place of the forecast, until something else is chosen.
for (const kind of ["change", "drop"]) addEventListener(kind, chosen, true);

function chosen(event) {
  document.querySelector(".kc-refused")?.remove();
  const file = (event.dataTransfer ?? event.target).files?.[0];
  const {max_file_size: most} = window.gradio_config;
  if (!file || file.size <= most || !event.target.closest("#kc-upload")) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  event.target.value = "";  // so that the same file may be chosen again
  const size = `the maximum allowed size of ${most / 2 ** 20} MB`;
  const shown = alert(`${file.name} cannot be uploaded: files may not exceed ${size}.`);
  shown.classList.add("kc-refused");
  document.getElementById("kc-results").prepend(shown);
  shown.scrollIntoView({block: "nearest"});
}

// Of an event or upload that was refused, or never answered, Gradio's frontend (6.31) says "Error"
// and no word more. Here it becomes an answer as the page gives it where something is wrong.
const {fetch: ask} = window;
const path = (address) => new URL(address, document.baseURI).pathname;
const answers = {
  [path("gradio_api/run/predict")]: banner,
  [path("gradio_api/upload")]: token,
};

window.fetch = async (address, options) => {
  const answer = answers[path(address)];
  if (!answer) return ask(address, options);
  document.querySelector(".kc-refused")?.remove();
  try {
    const received = await ask(address, options);
    if (received.ok) return received;
    return Response.json(await answer(await sentence(received)));
  } catch {
    return Response.json(await answer("The page cannot be reached. Please try again in a moment."));
  }
};

// The message, as JSON or plainly; a proxy's own page is for nobody to read here.
async function sentence(received) {
  const text = await received.text();
  if (received.headers.get("content-type")?.startsWith("text/html")) {
    if (received.status === 413) return "This is larger than this service takes.";
    return `The service answers with status ${received.status}. Please try again in a moment.`;
  }
  try {
    const {error, detail} = JSON.parse(text);
    return error ?? detail;
  } catch {
    return text;
  }
}

// As `markup.message` in Python.
function alert(text) {
  const shown = document.createElement("div");
  shown.className = "kc-banner";
  shown.role = "alert";
  shown.textContent = text;
  return shown;
}

// As `routes.banner` in Python; the parts after the figure and its table stay as they are.
function banner(text) {
  const [kept, hidden] = [{__type__: "update"}, {__type__: "update", visible: false}];
  const shown = {__type__: "update", value: alert(text).outerHTML, visible: true};
  return {data: [shown, hidden, hidden, hidden, ...Array(6).fill(kept)]};
}

// As `upload_token.problem_token` in Python: the event that follows shows it.
function token(text) {
  const bytes = new TextEncoder().encode(`problem: ${text}`.slice(0, 609));
  const letters = btoa(String.fromCharCode(...bytes));
  const safe = letters.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return [`kalecast-table-1.${safe}`];
}
