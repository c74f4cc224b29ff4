"""Records in; one offline HTML page, PNGs and terminal tables out."""
