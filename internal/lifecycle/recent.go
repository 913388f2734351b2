package lifecycle

// recent remembers the last entries that were put in, up to a fixed number.
type recent[K comparable, V any] struct {
	values map[K]V
	order  []K // ring of the keys, oldest at next once it is full
	next   int
	max    int
}

func newRecent[K comparable, V any](max int) recent[K, V] {
	return recent[K, V]{values: make(map[K]V), max: max}
}

// put sets the value of k. An old entry keeps its turn to be forgotten.
func (r *recent[K, V]) put(k K, v V) {
	if _, ok := r.values[k]; ok {
		r.values[k] = v
		return
	}
	r.values[k] = v
	if len(r.order) < r.max {
		r.order = append(r.order, k)
		return
	}
	delete(r.values, r.order[r.next])
	r.order[r.next] = k
	r.next = (r.next + 1) % r.max
}

func (r *recent[K, V]) get(k K) (V, bool) {
	v, ok := r.values[k]
	return v, ok
}
