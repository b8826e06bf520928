/** Asks the drawing as it is now, saved or not. */

const STORED = "/api/v1/prediction/";
const DRAFT = "/api/v1/draft-prediction/";

/** A `fetch` for the client: questions go to the drawing that `flowData` gives, everything else as it is. */
export function askingDraft(flowData: () => string): typeof fetch {
  return (input, init) => {
    const url = String(input);
    const options: RequestInit = { ...init, credentials: "same-origin", cache: "no-store" };
    if (!url.includes(STORED)) return fetch(url, options);
    const body = { ...JSON.parse(String(init?.body ?? "{}")), flowData: flowData() };
    return fetch(url.replace(STORED, DRAFT), { ...options, body: JSON.stringify(body) });
  };
}
