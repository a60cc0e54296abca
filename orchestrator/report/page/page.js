"use strict";
(() => {
  const probes = JSON.parse(document.getElementById("data").textContent) || [];
  const form = document.getElementById("filters");
  const detail = document.getElementById("detail");
  const table = document.getElementById("table");
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const element = (name, text, className) => {
    const e = document.createElement(name);
    if (text !== undefined) e.textContent = text;
    if (className) e.className = className;
    return e;
  };

  // What the filters ask for.
  const wanted = () => {
    const [kind, stage] = form.stage.value ? [form.stage.value.slice(0, 5), form.stage.value.slice(form.stage.value.indexOf(":") + 1)] : ["", ""];
    return { host: form.host.value, network: form.network.value, proof: kind === "proof" ? stage : "", work: kind === "work:" ? stage : "", failed: form.failed.checked };
  };
  const matches = (p, f) =>
    (!f.host || p.from_host === f.host || p.to_host === f.host) && (!f.network || p.network === f.network || p.to_network === f.network) &&
    (!f.proof || p.stage === f.proof) && (!f.failed || p.result === "fail");

  const cellProbes = td => td.dataset.p.split(" ").map(i => probes[i]);

  const filterMatrix = (figure, f) => {
    let any = false;
    const columns = new Set();
    const rows = all("tbody tr", figure);
    for (const row of rows) {
      let shown = false;
      for (const td of row.cells) {
        if (!td.dataset.p) continue;
        const on = cellProbes(td).some(p => matches(p, f));
        td.classList.toggle("off", !on);
        if (on) { shown = true; columns.add(td.cellIndex); }
      }
      row.hidden = !shown;
      any = any || shown;
    }
    for (const row of all("tr", figure))
      for (const c of row.cells)
        if (c.cellIndex > 0) c.hidden = !columns.has(c.cellIndex);
    figure.hidden = rows.length > 0 && !any;
    rove(figure);
  };

  // One cell of each map can be reached by Tab, the others from there.
  const rove = figure => {
    const cells = all("td[data-p]", figure).filter(td => !td.closest("tr").hidden && !td.hidden);
    const current = cells.find(td => td.tabIndex === 0) || cells.find(td => !td.classList.contains("off"));
    for (const td of all("td[data-p]", figure)) td.tabIndex = td === current ? 0 : -1;
  };

  const apply = () => {
    const f = wanted();
    const shown = probes.filter(p => matches(p, f));
    all(".matrix").forEach(figure => filterMatrix(figure, f));
    for (const li of all(".problems li")) {
      const d = li.dataset;
      li.hidden = !!(f.host && d.hosts && !d.hosts.split(" ").includes(f.host) || f.network && d.network && d.network !== f.network ||
        f.proof && d.stage && d.stage !== f.proof || f.failed && li.classList.contains("skipped"));
    }
    for (const row of all("[data-result]")) row.hidden = !!(f.host && row.dataset.host !== f.host || f.failed && row.dataset.result === "ok");
    for (const rect of all(".timeline rect")) rect.classList.toggle("off", !!f.work && rect.dataset.stage !== f.work);
    for (const tr of all("tr[data-network]")) tr.hidden = !!f.network && tr.dataset.network !== f.network;
    for (const g of all(".map .host")) {
      g.setAttribute("aria-pressed", String(!!f.host && g.dataset.host === f.host));
      const bad = !g.classList.contains("ok") || g.querySelector(".fail");
      g.classList.toggle("off", !!(f.host && g.dataset.host !== f.host || f.failed && !bad));
    }
    for (const g of all(".map .segment")) g.classList.toggle("off", !!f.network && g.dataset.network !== f.network);
    document.getElementById("shown").textContent = probes.length ? `${shown.length} of ${probes.length} probes` : "";
    if (table && table.open) fill(shown);
  };

  const rtt = p => p.throughput_mbit_s ? `${p.throughput_mbit_s} Mbit/s` : p.rtt_ms.avg ? `${p.rtt_ms.avg.toFixed(2)} ms` : "";
  const least = p => p.min_throughput_mbit_s && `≥ ${p.min_throughput_mbit_s} Mbit/s`;

  const describe = td => {
    all(".chosen").forEach(e => e.classList.remove("chosen"));
    td.classList.add("chosen");
    const list = cellProbes(td);
    const one = list[0];
    const single = list.every(p => p.from === one.from && p.to === one.to);
    const place = (name, host) => name === host ? name : `${name} (${host})`;
    const ul = element("ul");
    for (const p of list.slice(0, 40)) {
      const li = element("li", undefined, p.result);
      li.append(element("b", `${p.kind} ${p.result}`), ` ${single ? p.address : `${p.from} → ${p.to}`} `);
      if (p.result !== "skipped") li.append(`· ${p.received} of ${p.sent} answered · ${p.bytes} bytes `);
      if (p.received) li.append(`· ${rtt(p)}`);
      if (p.error) li.append(element("div", p.error));
      if (p.hint) li.append(element("div", p.hint, "hint"));
      ul.append(li);
    }
    if (list.length > 40) ul.append(element("li", `and ${list.length - 40} more`));
    const title = single ? `${place(one.from, one.from_host)} → ${place(one.to, one.to_host)}` : `${one.from_host} → ${one.to_host}`;
    detail.replaceChildren(element("h3", title), element("p", `${one.network}, stage ${[...new Set(list.map(p => p.stage))].join(", ")}`, "hint"), ul);
  };

  const fill = shown => {
    const most = 1000;
    const t = element("table", undefined, "plain");
    const head = t.createTHead().insertRow();
    for (const name of ["kind", "stage", "network", "from", "to", "address", "answered", "round trip", "result"]) {
      const th = element("th", name);
      th.scope = "col";
      head.append(th);
    }
    const body = t.createTBody();
    for (const p of shown.slice(0, most)) {
      const row = body.insertRow();
      row.className = p.result;
      for (const text of [[p.kind, p.port, p.expect, least(p)].filter(Boolean).join(" "), p.stage, [p.network, p.to_network].filter(Boolean).join(" → "), p.from, p.to, p.address, `${p.received}/${p.sent}`, rtt(p), p.error ? `${p.result}: ${p.error}` : p.result])
        row.insertCell().textContent = text;
    }
    const rows = [t];
    if (shown.length > most) rows.push(element("p", `and ${shown.length - most} more; the filters choose`, "key"));
    document.getElementById("rows").replaceChildren(...rows);
  };

  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  for (const map of all(".heat")) {
    map.addEventListener("mouseover", e => { const td = e.target.closest("td[data-p]"); if (td) describe(td); });
    map.addEventListener("click", e => { const td = e.target.closest("td[data-p]"); if (td) td.focus(); });
    map.addEventListener("focusin", e => {
      const td = e.target.closest("td[data-p]");
      if (!td) return;
      all("td[tabindex='0']", map).forEach(other => { other.tabIndex = -1; });
      td.tabIndex = 0;
      describe(td);
    });
    map.addEventListener("keydown", e => {
      const by = step[e.key];
      let td = e.target.closest("td[data-p]");
      if (!by || !td) return;
      e.preventDefault();
      // On over what is hidden or has no probe, as the diagonal.
      let row = td.parentNode.rowIndex, column = td.cellIndex;
      do {
        row += by[0]; column += by[1];
        td = map.rows[row] && row > 0 && column > 0 ? map.rows[row].cells[column] : null;
      } while (td && (!td.dataset.p || td.hidden || td.parentNode.hidden));
      if (td) td.focus();
    });
  }
  const choose = g => { form.host.value = form.host.value === g.dataset.host ? "" : g.dataset.host; apply(); };
  for (const g of all(".map .host")) {
    g.addEventListener("click", () => choose(g));
    g.addEventListener("keydown", e => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); choose(g); } });
  }
  form.addEventListener("change", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", e => e.preventDefault());
  if (table) table.addEventListener("toggle", apply);
  apply();
})();
