package main

import (
	"fmt"
	"go/ast"
	"go/types"
	"slices"
	"strings"
)

// outside says which interfaces lead out of the service: those of the contracts, and the root.
// The folder of a package stands for all of its interfaces; a name after a dot, for one. The
// callbacks of a Config are functions, not interfaces, and do not count.
var outside = []string{"keystore", "provider", "legacy", ".Root"}

// A function is a declared function of the module.
type function struct {
	name, file string
	calls      []*function // in the order of the source, each once
	outside    []string    // the methods of outside interfaces that it calls, such as keystore.Store.Put
	reaches    bool        // it makes an outside call, or calls a function that does
}

// A graph has the functions of a program and who calls whom, as far as that can be told without
// running it: calls of functions and of methods of concrete types, in literals, too, and functions
// that are passed on as arguments. Calls of variables, of fields and of interfaces that are not
// outside are left out.
type graph struct {
	functions []*function
	byName    map[string]*function
}

// newGraph finds the functions of a program, their calls, and which of them reach outside.
func newGraph(p *program) (*graph, error) {
	g := &graph{byName: map[string]*function{}}
	declared := map[*types.Func]*function{}
	type body struct {
		of  *function
		in  *source
		how *ast.BlockStmt
	}
	var bodies []body
	for _, s := range p.sources {
		for _, file := range s.files {
			for _, decl := range file.Decls {
				d, ok := decl.(*ast.FuncDecl)
				if !ok || d.Body == nil || d.Name.Name == "init" || d.Name.Name == "_" {
					continue
				}
				object := s.info.Defs[d.Name].(*types.Func)
				f := &function{name: p.name(object), file: p.file(d.Pos())}
				if other := g.byName[f.name]; other != nil {
					return nil, fmt.Errorf("%s is in %s and in %s: one name must stand for one function", f.name, other.file, f.file)
				}
				g.functions = append(g.functions, f)
				g.byName[f.name], declared[object] = f, f
				bodies = append(bodies, body{f, s, d.Body})
			}
		}
	}
	for _, b := range bodies {
		c := caller{function: b.of, program: p, info: b.in.info, declared: declared}
		ast.Inspect(b.how, c.visit)
	}
	g.spread()
	return g, nil
}

// spread marks what reaches outside, until nothing more does.
func (g *graph) spread() {
	for again := true; again; {
		again = false
		for _, f := range g.functions {
			reaches := len(f.outside) > 0 || slices.ContainsFunc(f.calls, func(c *function) bool { return c.reaches })
			if reaches && !f.reaches {
				f.reaches, again = true, true
			}
		}
	}
}

// A caller is a function while its body is read.
type caller struct {
	*function
	program  *program
	info     *types.Info
	declared map[*types.Func]*function
}

func (c *caller) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.CallExpr:
		c.reference(n.Fun)
		for _, argument := range n.Args {
			c.reference(argument)
		}
	case *ast.RangeStmt:
		c.reference(n.X) // an iterator that is a method value is called by the loop
	}
	return true
}

// reference adds the function that an expression names, if it names one.
func (c *caller) reference(e ast.Expr) {
	var through types.Type // whose method it is, as the expression sees it
	var name *ast.Ident
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		name = e
	case *ast.SelectorExpr:
		name = e.Sel
		if s := c.info.Selections[e]; s != nil {
			through = s.Recv()
		}
	case *ast.IndexExpr:
		c.reference(e.X)
		return
	case *ast.IndexListExpr:
		c.reference(e.X)
		return
	default:
		return
	}
	called, ok := c.info.Uses[name].(*types.Func)
	if !ok {
		return
	}
	called = called.Origin()
	if f := c.declared[called]; f != nil {
		if !slices.Contains(c.calls, f) {
			c.calls = append(c.calls, f)
		}
		return
	}
	if of := c.program.outsideOf(called, through); of != "" {
		if method := of + "." + called.Name(); !slices.Contains(c.outside, method) {
			c.outside = append(c.outside, method)
		}
	}
}

// outsideOf returns the outside interface that a method is of: the one that declares it, or the
// one that it is called through, which may have it from an interface of another package.
func (p *program) outsideOf(method *types.Func, through types.Type) string {
	recv := method.Signature().Recv()
	if recv == nil {
		return ""
	}
	for _, t := range []types.Type{recv.Type(), through} {
		if t == nil {
			continue
		}
		if parameter, ok := types.Unalias(t).(*types.TypeParam); ok {
			t = parameter.Constraint()
		}
		named := namedOf(t)
		if named == nil || !types.IsInterface(named) || named.Obj().Pkg() == nil {
			continue
		}
		folder, ours := strings.CutPrefix(named.Obj().Pkg().Path()+"/", p.module+"/")
		folder = strings.TrimSuffix(folder, "/")
		if ours && (slices.Contains(outside, folder) || slices.Contains(outside, folder+"."+named.Obj().Name())) {
			return strings.TrimPrefix(folder+"."+named.Obj().Name(), ".")
		}
	}
	return ""
}
