internal import QMP

extension CommandRegistry {
    /// `getfd`, `closefd`, `add-fd`, `remove-fd`, `query-fdsets`.
    mutating func registerDescriptors(_ store: DescriptorStore) {
        register("getfd") { (arguments: inout Arguments) throws(QMPError) in
            try arguments.string("fdname")
        } run: { name, descriptors in
            try store.add(descriptors, named: name)
            return .nothing
        }
        register("closefd") { (arguments: inout Arguments) throws(QMPError) in
            try arguments.string("fdname")
        } run: { name, _ in
            try store.close(named: name)
            return .nothing
        }
        register("add-fd") { (arguments: inout Arguments) throws(QMPError) in
            (try arguments.optionalInteger("fdset-id"), try arguments.optionalString("opaque"))
        } run: { input, descriptors in
            try store.add(descriptors, toSet: input.0, opaque: input.1)
        }
        register("remove-fd") { (arguments: inout Arguments) throws(QMPError) in
            (try arguments.integer("fdset-id"), try arguments.optionalInteger("fd"))
        } run: { input, _ in
            try store.remove(fromSet: input.0, number: input.1)
            return .nothing
        }
        register("query-fdsets") { store.sets }
    }
}
