// Report: what is told of migrations that were observed: figures, tables, and a page with pictures.
//
// Read Move (everything that was seen of one migration), MoveFigures (its figures; tables, JSON and page have them from
// there, so they agree) and ReportPage. Pure: values in, text out; it must import nothing that reads a clock or a file.
