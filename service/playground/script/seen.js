// Work that costs runs of the network begins only when its section is scrolled into view.

/** Call `load()` once when the section comes into view; returns a function that gives it up. */
export function whenSeen(section, load) {
  const watcher = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    watcher.disconnect();
    load();
  });
  watcher.observe(section);
  return () => watcher.disconnect();
}
