module github.com/weftnet/weft/bench

go 1.26.0

replace github.com/weftnet/weft => ../
