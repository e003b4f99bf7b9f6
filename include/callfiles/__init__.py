"""Call data files of iSales: workbooks on a file server, imports by name, and what became of them."""
