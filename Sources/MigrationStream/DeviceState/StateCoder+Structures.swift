extension StateCoder {
    /// A structure: its fields, then its own subsections.
    public mutating func structure<Value: StateFormat>(_ name: String, _ value: inout Value) throws(StateError) {
        let start = offset
        let structure = try enter(name, Value.vmsdName, version: Value.currentVersion) { coder throws(StateError) in
            try value.transfer(&coder)
        }
        record(name, type: "struct", byteCount: offset - start, .structure(structure))
    }

    /// An array of structures that are all alike; a loaded one must have its length before.
    public mutating func structures<Value: StateFormat>(_ name: String, _ values: inout [Value])
        throws(StateError)
    {
        let start = offset
        let elements = try transfer(name, &values, values.indices)
        recordStructures(name, count: values.count, byteCount: offset - start, elements)
    }

    /// The same for a long array of which few elements are not `blank`, and hardly any towards its end.
    ///
    /// A field at a time, a thousand unused queues take a millisecond of every downtime.
    ///
    /// - Precondition: A `blank` element is nothing but bytes of zero, and no other is.
    mutating func structures<Value: StateFormat & Equatable>(
        _ name: String, _ values: inout [Value], blank: Value
    ) throws(StateError) {
        if case .values = recording { return try structures(name, &values) }
        guard !values.isEmpty else { return }
        let start = offset
        let elements = try transfer(name, &values, 0..<1)
        let byteCount = offset - start
        let rest = (values.count - 1) * byteCount
        var usedCount = 1
        if direction == .load {
            // One that is cut short fails at the field where that shows.
            let last = bytes[offset..<min(bytes.count, offset + rest)].lastIndex { $0 != 0 }
            usedCount += rest > remaining ? values.count - 1 : last.map { ($0 - offset) / byteCount + 1 } ?? 0
        } else {
            usedCount = max(1, (values.lastIndex { $0 != blank } ?? 0) + 1)
        }
        _ = try transfer(name, &values, 1..<usedCount)
        let blankCount = values.count - usedCount
        if direction == .load {
            for index in usedCount..<values.count { values[index] = blank }
        } else if direction == .save {
            bytes.append(contentsOf: repeatElement(0, count: blankCount * byteCount))
        }
        offset += blankCount * byteCount
        recordStructures(name, count: values.count, byteCount: offset - start, elements)
    }

    /// Some elements of an array; those of them that are to be recorded.
    private mutating func transfer<Value: StateFormat>(
        _ name: String, _ values: inout [Value], _ range: Range<Int>
    ) throws(StateError) -> [StateValue] {
        var elements: [StateValue] = []
        for index in range {
            let structure = try enter(name, index: index, Value.vmsdName, version: Value.currentVersion) {
                coder throws(StateError) in try values[index].transfer(&coder)
            }
            switch recording {
            case .nothing: break
            case .description: if index == 0 { elements.append(.structure(structure)) }
            case .values: elements.append(.structure(structure))
            }
        }
        return elements
    }

    private mutating func recordStructures(_ name: String, count: Int, byteCount: Int, _ elements: [StateValue]) {
        guard let first = elements.first else { return }
        record(
            name, type: "struct", byteCount: byteCount / count, elementCount: count > 1 ? count : nil,
            count > 1 ? .array(elements) : first)
    }

    /// Fields that QEMU converts on the way; its description lists them inside the field.
    public mutating func converted(
        _ name: String = "tmp", _ vmsdName: String, version: Int = 0,
        _ body: (inout StateCoder) throws(StateError) -> Void
    ) throws(StateError) {
        let start = offset
        let structure = try enter(name, vmsdName, version: version, body)
        record(name, type: "tmp", byteCount: offset - start, .structure(structure))
    }

    /// Contents that QEMU's description does not list, only their type and length.
    mutating func undescribed(
        _ name: String, type: String, _ body: (inout StateCoder) throws(StateError) -> Void
    ) throws(StateError) {
        let start = offset
        let outer = recording
        if case .description = outer { recording = .nothing }
        let structure = try enter(name, nil, version: version, body)
        recording = outer
        record(name, type: type, byteCount: offset - start, .structure(structure))
    }

    /// A part of the current structure whose subsections have another name in front.
    mutating func named(_ vmsdName: String, _ body: (inout StateCoder) throws(StateError) -> Void)
        throws(StateError)
    {
        let outerName = structureName
        structureName = vmsdName
        try body(&self)
        try refuseUnknownSubsection(of: vmsdName)
        structureName = outerName
    }

    /// The subsections of the current structure, in the order in which they are saved.
    ///
    /// Loading takes them in any order and leaves out those that are not there; one that `body` does not name is an
    /// error. `body` may run several times and must do nothing beside naming subsections.
    public mutating func subsections(_ body: (inout StateCoder) throws(StateError) -> Void) throws(StateError) {
        guard direction == .load else { return try body(&self) }
        var found: [String] = []
        while let name = try nextSubsection() {
            guard !found.contains(name) else { throw .duplicateSubsection(name, offset: offset) }
            found.append(name)
            let outer = wanted
            wanted = name
            isLoaded = false
            try body(&self)
            guard isLoaded else {
                throw .unknownSubsection(name, structure: pathText, offset: offset)
            }
            wanted = outer
        }
    }

    /// One subsection, named in the body of `subsections`.
    ///
    /// - Parameter isNeeded: whether to save it. Whether it is there decides when loading.
    public mutating func subsection(
        _ name: String, version: Int = 1, minimumVersion: Int? = nil, isNeeded: Bool,
        _ body: (inout StateCoder) throws(StateError) -> Void
    ) throws(StateError) {
        if direction == .load {
            guard wanted == name, !isLoaded else { return }
        } else {
            guard isNeeded else { return }
        }
        let start = offset
        let nameBytes = Array(name.utf8)
        _ = try word(UInt64(Self.subsectionMark), width: 1, name: name)
        _ = try word(UInt64(nameBytes.count), width: 1, name: name)
        if direction == .save { bytes.append(contentsOf: nameBytes) }
        offset += nameBytes.count
        let found = Int(try word(UInt64(version), width: 4, name: name))
        let supported = (minimumVersion ?? version)...version
        guard supported.contains(found) else {
            throw .unsupportedVersion(structure: name, found: found, supported: supported, offset: start)
        }
        var structure = try enter(name, name, version: found, body)
        structure.version = found
        isLoaded = true
        if case .nothing = recording { return }
        recorded.subsections.append(structure)
    }

    /// A subsection of one number.
    public mutating func subsection(_ name: String, field: String, _ value: inout UInt64, isNeeded: Bool)
        throws(StateError)
    {
        try subsection(name, isNeeded: isNeeded) { coder throws(StateError) in try coder.field(field, &value) }
    }

    public mutating func subsection(_ name: String, field: String, _ value: inout UInt32, isNeeded: Bool)
        throws(StateError)
    {
        try subsection(name, isNeeded: isNeeded) { coder throws(StateError) in try coder.field(field, &value) }
    }

    /// Runs `body` one level deeper and returns what it recorded. Contents of a field without a description are
    /// recorded only if values are wanted.
    private mutating func enter(
        _ name: String, index: Int? = nil, _ vmsdName: String?, version: Int,
        _ body: (inout StateCoder) throws(StateError) -> Void
    ) throws(StateError) -> StateStructure {
        let outer = recorded
        let outerVersion = self.version
        let outerWanted = wanted
        let outerIsLoaded = isLoaded
        let outerName = structureName
        structureName = vmsdName ?? structureName
        recorded = StateStructure(name: vmsdName, version: vmsdName == nil ? nil : version)
        self.version = version
        wanted = nil
        path.append((name, index))
        try body(&self)
        if let vmsdName { try refuseUnknownSubsection(of: vmsdName) }
        path.removeLast()
        defer {
            recorded = outer
            self.version = outerVersion
            wanted = outerWanted
            isLoaded = outerIsLoaded
            structureName = outerName
        }
        return recorded
    }

    /// QEMU looks for subsections after every structure, also one that has none.
    func refuseUnknownSubsection(of vmsdName: String) throws(StateError) {
        guard direction == .load, let name = try nextSubsection() else { return }
        throw .unknownSubsection(name, structure: vmsdName, offset: offset)
    }

    /// The name of the subsection of the current structure that follows, or nil if none does.
    ///
    /// A name that does not start with the structure's belongs to a structure further out.
    /// - Throws: `StateError.truncated` if that cannot be told yet because more bytes may come.
    private func nextSubsection() throws(StateError) -> String? {
        if !isWhole {
            try need(1, for: "subsection")
            if bytes[offset] == Self.subsectionMark {
                try need(2, for: "subsection")
                try need(2 + Int(bytes[offset + 1]), for: "subsection")
            }
        }
        guard let name = Self.subsectionName(in: bytes, at: offset),
            name.utf8.count > structureName.utf8.count, name.utf8.starts(with: structureName.utf8)
        else { return nil }
        return name
    }

    /// The name of a subsection that starts at `offset`, or nil if none does.
    static func subsectionName(in bytes: [UInt8], at offset: Int) -> String? {
        guard bytes.count - offset >= 2, bytes[offset] == subsectionMark else { return nil }
        let count = Int(bytes[offset + 1])
        guard bytes.count - offset - 2 >= count else { return nil }
        return String(decoding: bytes[(offset + 2)..<(offset + 2 + count)], as: UTF8.self)
    }
}
