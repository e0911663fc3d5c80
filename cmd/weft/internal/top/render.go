package top

import (
	"fmt"
	"strings"
)

// helpLine is the last line.
const helpLine = "q quit  arrows scroll, change node  sort by n name p path t trip l lost i in o out s streams (again: the other way)"

// Lines draws the model: at most height lines of at most width characters, all of them if
// height is 0.
func (m *Model) Lines(width, height int) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fit(fmt.Sprintf(format, args...), width)) }
	if m.err != nil {
		add("%v", m.err)
	}
	i := m.index()
	if i < 0 {
		add("no node runs here")
		return cut(out, height)
	}
	n := m.nodes[i]
	rows := m.rows(n)
	var in, sent float64
	for _, r := range rows {
		in, sent = in+r.in, sent+r.out
	}
	which := ""
	if len(m.nodes) > 1 {
		which = fmt.Sprintf("[%d/%d] ", i+1, len(m.nodes))
	}
	add("%s%s  %s  in %s/s  out %s/s", which, n.Title, n.At.Format("15:04:05"), m.Bytes(uint64(in)), m.Bytes(uint64(sent)))
	for _, line := range n.Lines {
		add("%s", line)
	}
	add("%s", m.header(width))
	if height > 0 {
		room := max(height-len(out)-1, 0) // the last line is help
		m.scroll = min(m.scroll, max(len(rows)-room, 0))
		rows = rows[m.scroll:min(m.scroll+room, len(rows))]
	}
	for _, r := range rows {
		add("%s", m.row(r, width))
	}
	if height > 0 {
		for len(out) < height-1 {
			out = append(out, "")
		}
		add("%s", helpLine)
	}
	return cut(out, height)
}

func cut(lines []string, height int) []string {
	if height > 0 && len(lines) > height {
		return lines[:height]
	}
	return lines
}

// header is the line with the names of the columns; that which sorts has a mark.
func (m *Model) header(width int) string {
	var cells []string
	for i, c := range columns {
		title := c.title
		if c.key == m.order || m.order == 0 && i == 0 {
			title += "*"
		}
		cells = append(cells, title)
	}
	return align(cells, width)
}

func (m *Model) row(r row, width int) string {
	return align([]string{
		r.Name, r.Path, m.Trip(r.RTT), fmt.Sprintf("%.2g %%", 100*r.lost()),
		m.Bytes(uint64(r.in)), m.Bytes(uint64(r.out)), fmt.Sprint(r.Streams),
	}, width)
}

// minFlexible is the least width of the column that takes what is left.
const minFlexible = 10

// align makes a line of cells: texts on the left of their columns, numbers on the right.
func align(cells []string, width int) string {
	left := width
	for _, c := range columns {
		left -= c.width + 1
	}
	var b strings.Builder
	for i, c := range columns {
		w := c.width
		if w == 0 {
			w = max(left, minFlexible)
		}
		text := fit(cells[i], w)
		space := strings.Repeat(" ", w-len([]rune(text)))
		if i < 2 {
			b.WriteString(text + space)
		} else {
			b.WriteString(space + text)
		}
		b.WriteByte(' ')
	}
	return strings.TrimRight(b.String(), " ")
}

// fit cuts a text to a width, and takes from it what would do something to the terminal.
func fit(s string, width int) string {
	runes := []rune(s)
	for i, r := range runes {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			runes[i] = '?'
		}
	}
	if len(runes) > width && width > 0 {
		runes = append(runes[:width-1], '…')
	}
	return string(runes)
}
