// What the theme's markup lacks for screen readers and keyboards: names of its regions, and tables that can be scrolled.

function complete() {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  document.querySelectorAll(".md-code__nav").forEach((node, index) => node.setAttribute("aria-label", `Tools of code ${index + 1}`));
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((node, index) => {
    const scrolls = node.scrollWidth > node.clientWidth;
    if (!scrolls) return ["tabindex", "role", "aria-label"].forEach((name) => node.removeAttribute(name));
    node.setAttribute("tabindex", "0");
    node.setAttribute("role", "region");
    node.setAttribute("aria-label", `Table ${index + 1}`);
  });
}

// The theme wraps tables and adds buttons to code after it has started, and again as they come into view.
complete();
new MutationObserver(complete).observe(document.body, { childList: true, subtree: true });
addEventListener("resize", complete);
