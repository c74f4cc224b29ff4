(function () {
  "use strict";
  var rows = Array.from(document.querySelectorAll("tr[data-sheet]")).map(function (row) {
    return Array.from(row.querySelectorAll("td.cell"));
  });
  // Pictures of the sheet that are shown again elsewhere on the page: the file holds them once.
  document.querySelectorAll("img[data-of]").forEach(function (img) {
    var source = document.getElementById(img.dataset.of);
    if (!source) { return; }
    img.src = source.src;
    img.parentElement.addEventListener("click", function () { source.closest("td").click(); });
  });
  var box = document.getElementById("box");
  if (!box || !rows.length) { return; }
  var r = 0, c = 0;
  function show() {
    var cell = rows[r][c];
    var pictures = document.getElementById("box-pictures");
    pictures.replaceChildren.apply(pictures, Array.from(cell.querySelectorAll("img")).map(function (img) {
      return img.cloneNode();
    }));
    document.getElementById("box-title").textContent = cell.dataset.title;
    document.getElementById("box-text").textContent = cell.dataset.text;
    document.getElementById("box-parts").textContent = cell.dataset.parts;
    box.classList.toggle("picked", cell.parentElement.classList.contains("picked"));
    cell.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  function close() { box.hidden = true; rows[r][c].focus(); }
  rows.forEach(function (cells, i) {
    cells.forEach(function (cell, j) {
      function open() { r = i; c = j; box.hidden = false; show(); }
      cell.addEventListener("click", open);
      cell.addEventListener("keydown", function (event) { if (event.key === "Enter") { open(); event.preventDefault(); } });
    });
  });
  box.addEventListener("click", close);
  document.addEventListener("keydown", function (event) {
    if (box.hidden) { return; }
    if (event.key === "ArrowLeft") { c = (c + rows[r].length - 1) % rows[r].length; }
    else if (event.key === "ArrowRight") { c = (c + 1) % rows[r].length; }
    else if (event.key === "ArrowUp") { r = (r + rows.length - 1) % rows.length; }
    else if (event.key === "ArrowDown") { r = (r + 1) % rows.length; }
    else if (event.key === "Escape") { close(); return; }
    else { return; }
    event.preventDefault();
    show();
  });
})();
