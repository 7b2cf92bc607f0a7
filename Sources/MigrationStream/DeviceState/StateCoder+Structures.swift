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

    /// The same for a long array of `count` elements of which only the first are used: `used` has these, and all others
    /// are `blank`. Loading sets it to those up to the last that is not blank, or one.
    ///
    /// A field at a time, a thousand unused queues take a millisecond of every downtime.
    ///
    /// - Precondition: A `blank` element is nothing but bytes of zero.
    mutating func structures<Value: StateFormat>(
        _ name: String, _ used: inout [Value], count: Int, blank: Value
    ) throws(StateError) {
        if case .values = recording {
            used += repeatElement(blank, count: count - used.count)
            return try structures(name, &used)
        }
        let start = offset
        if used.isEmpty { used = [blank] }
        let elements = try transfer(name, &used, 0..<1)
        let byteCount = offset - start
        if direction == .load {
            let rest = (count - 1) * byteCount
            // One that is cut short fails at the field where that shows.
            let last = rest > remaining ? offset + rest - 1 : lastNonZero(offset..<offset + rest)
            let usedCount = last.map { ($0 - offset) / byteCount + 2 } ?? 1
            used = [used[0]] + repeatElement(blank, count: usedCount - 1)
        }
        _ = try transfer(name, &used, 1..<used.count)
        let blankByteCount = (count - used.count) * byteCount
        if direction == .save { appendZeros(blankByteCount) }
        offset += blankByteCount
        recordStructures(name, count: count, byteCount: offset - start, elements)
    }

    /// The last byte of `range` that is not 0.
    private func lastNonZero(_ range: Range<Int>) -> Int? {
        let bytes = unsafe contents(range)
        var end = bytes.count
        while end >= 32 {
            // Nearly always there is none.
            let words = (0..<4).reduce(UInt64(0)) {
                unsafe $0 | bytes.loadUnaligned(fromByteOffset: end - 32 + $1 * 8, as: UInt64.self)
            }
            if words != 0 { break }
            end -= 32
        }
        while unsafe end > 0 && bytes[end - 1] == 0 { end -= 1 }
        return end > 0 ? range.lowerBound + end - 1 : nil
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
        let nameByteCount = name.utf8.count
        _ = try word(Self.subsectionMark, name: name)
        _ = try word(UInt8(nameByteCount), name: name)
        if direction == .save { append(Array(name.utf8)) }
        offset += nameByteCount
        let found = Int(try word(UInt32(version), name: name))
        let supported = (minimumVersion ?? version)...version
        guard supported.contains(found) else {
            throw .unsupportedVersion(structure: name, found: found, supported: supported, offset: start)
        }
        var structure = try enter(name, name, version: found, body)
        structure.version = found
        isLoaded = true
        if isRecording { recorded.subsections.append(structure) }
    }

    /// A subsection of one number.
    public mutating func subsection(
        _ name: String, field: String, _ value: inout UInt64, isNeeded: Bool
    ) throws(StateError) {
        try subsection(name, isNeeded: isNeeded) { coder throws(StateError) in try coder.field(field, &value) }
    }

    public mutating func subsection(
        _ name: String, field: String, _ value: inout UInt32, isNeeded: Bool
    ) throws(StateError) {
        try subsection(name, isNeeded: isNeeded) { coder throws(StateError) in try coder.field(field, &value) }
    }

    /// Runs `body` one level deeper and returns what it recorded. Contents of a field without a description are
    /// recorded only if values are wanted.
    private mutating func enter(
        _ name: String, index: Int? = nil, _ vmsdName: String?, version: Int,
        _ body: (inout StateCoder) throws(StateError) -> Void
    ) throws(StateError) -> StateStructure {
        let outerVersion = self.version
        let outerWanted = wanted
        let outerIsLoaded = isLoaded
        let outerName = structureName
        if let vmsdName { structureName = vmsdName }
        self.version = version
        wanted = nil
        path.append((name, index))
        var structure = StateStructure(name: nil, version: nil)
        if isRecording {
            structure = StateStructure(name: vmsdName, version: vmsdName == nil ? nil : version)
            swap(&structure, &recorded)
            try body(&self)
            swap(&structure, &recorded)
        } else {
            try body(&self)
        }
        if let vmsdName { try refuseUnknownSubsection(of: vmsdName) }
        path.removeLast()
        self.version = outerVersion
        wanted = outerWanted
        isLoaded = outerIsLoaded
        structureName = outerName
        return structure
    }

    /// QEMU looks for subsections after every structure, also one that has none.
    func refuseUnknownSubsection(of vmsdName: String) throws(StateError) {
        guard direction == .load else { return }
        // Nearly always it is something else.
        if remaining > 0 && byte(at: offset) != Self.subsectionMark { return }
        guard let name = try nextSubsection() else { return }
        throw .unknownSubsection(name, structure: vmsdName, offset: offset)
    }

    /// The name of the subsection of the current structure that follows, or nil if none does.
    ///
    /// A name that does not start with the structure's belongs to a structure further out.
    /// - Throws: `StateError.truncated` if that cannot be told yet because more bytes may come.
    private func nextSubsection() throws(StateError) -> String? {
        if !isWhole {
            try need(1, for: "subsection")
            if byte(at: offset) == Self.subsectionMark {
                try need(2, for: "subsection")
                try need(2 + Int(byte(at: offset + 1)), for: "subsection")
            }
        }
        guard let name = subsectionName, name.utf8.count > structureName.utf8.count,
            name.utf8.starts(with: structureName.utf8)
        else { return nil }
        return name
    }

    /// The name of a subsection that starts here, or nil if none does.
    var subsectionName: String? { Self.subsectionName(in: unsafe contents(offset..<inputCount).bytes) }

    /// The name of a subsection that `bytes` start with, or nil if they do not.
    static func subsectionName(in bytes: RawSpan) -> String? {
        unsafe bytes.withUnsafeBytes { bytes in
            guard unsafe bytes.count >= 2 && bytes[0] == subsectionMark else { return nil }
            let end = unsafe 2 + Int(bytes[1])
            guard end <= bytes.count else { return nil }
            return unsafe String(decoding: bytes[2..<end], as: UTF8.self)
        }
    }
}
