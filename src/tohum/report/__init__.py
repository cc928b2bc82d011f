"""Report: run folder -> one offline HTML page; two run folders -> one page that compares them."""
