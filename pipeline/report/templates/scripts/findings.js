// What the audit found, with some of the images that it is about.

const PICTURES_OF_A_FINDING = 12;

function drawFindings(findings, run) {
  if (findings.length === 0) return make("p", {}, "The audit found nothing.");
  return make("div", {}, ...findings.map(finding => {
    const shown = finding.images.slice(0, PICTURES_OF_A_FINDING);
    const more = make("button", { type: "button", class: "link small",
      onclick: () => openImages(finding.heading, finding.images, run,
        finding.images.length < finding.n_images
          ? `${finding.images.length} of ${counted(finding.n_images, "image")} are in this report.` : "") },
    `all ${finding.images.length}`);
    const isCounted = /^\d/.test(finding.heading);
    return make(
      "div", { class: "finding" },
      make("h3", {}, named(finding.heading), finding.n_images && !isCounted
        ? make("span", { class: "soft small" }, " " + counted(finding.n_images, "image")) : null),
      ...finding.text.split("\n").map(line => named(line, "p")),
      shown.length ? besideEach(shown, run) : null,
      finding.images.length > shown.length ? more : null);
  }));
}
