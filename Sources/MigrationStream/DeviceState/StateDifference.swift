/// A place where two states of a device differ.
public struct StateDifference: Equatable, Sendable {
    /// The field, as in `env.segs[2]/base`; a subsection's name is part of it.
    public var path: String
    /// The value on either side, on one line; nil where the field, element or subsection is missing.
    public var left: String?
    public var right: String?

    public init(path: String, left: String?, right: String?) {
        self.path = path
        self.left = left
        self.right = right
    }
}

extension StateStructure {
    /// Where this state and `other` differ, in stream order; empty if they are the same.
    ///
    /// Fields are matched by name and index, subsections by name, elements by position.
    public func differences(from other: StateStructure) -> [StateDifference] {
        var differences: [StateDifference] = []
        collect(&differences, other, path: "")
        return differences
    }

    private func collect(_ differences: inout [StateDifference], _ other: StateStructure, path: String) {
        if version != other.version {
            differences.append(
                StateDifference(
                    path: path + "version", left: version.map(String.init), right: other.version.map(String.init)))
        }
        let rightByLabel = Dictionary(other.fields.map { ($0.label, $0) }) { first, _ in first }
        for field in fields {
            let path = path + field.label
            if let right = rightByLabel[field.label] {
                field.value.collect(&differences, right.value, path: path)
            } else {
                differences.append(StateDifference(path: path, left: field.value.summary, right: nil))
            }
        }
        let labels = Set(fields.map(\.label))
        for field in other.fields where !labels.contains(field.label) {
            differences.append(StateDifference(path: path + field.label, left: nil, right: field.value.summary))
        }
        for subsection in subsections {
            let name = subsection.name ?? ""
            if let right = other.subsection(name) {
                subsection.collect(&differences, right, path: path + name + "/")
            } else {
                differences.append(StateDifference(path: path + name, left: "present", right: nil))
            }
        }
        for right in other.subsections where subsection(right.name ?? "") == nil {
            differences.append(StateDifference(path: path + (right.name ?? ""), left: nil, right: "present"))
        }
    }
}

extension StateValue {
    fileprivate func collect(_ differences: inout [StateDifference], _ other: StateValue, path: String) {
        switch (self, other) {
        case (.structure(let left), .structure(let right)):
            left.collectFields(&differences, right, path: path + "/")
        case (.array(let left), .array(let right)):
            for index in 0..<max(left.count, right.count) {
                let path = "\(path)[\(index)]"
                if index >= left.count {
                    differences.append(StateDifference(path: path, left: nil, right: right[index].summary))
                } else if index >= right.count {
                    differences.append(StateDifference(path: path, left: left[index].summary, right: nil))
                } else {
                    left[index].collect(&differences, right[index], path: path)
                }
            }
        case (.bytes(let left), .bytes(let right)) where left != right:
            let offset = zip(left, right).prefix { $0 == $1 }.count
            differences.append(
                StateDifference(
                    path: "\(path)+\(offset)", left: excerpt(left, at: offset), right: excerpt(right, at: offset)))
        default:
            if self != other { differences.append(StateDifference(path: path, left: summary, right: other.summary)) }
        }
    }

    /// The value on one line, whatever it is.
    var summary: String {
        switch self {
        case .structure(let structure): "\(structure.fields.count) fields"
        case .array(let elements): "\(elements.count) elements"
        case .bytes(let bytes): excerpt(bytes, at: 0)
        default: line ?? ""
        }
    }
}

extension StateStructure {
    fileprivate func collectFields(_ differences: inout [StateDifference], _ other: StateStructure, path: String) {
        collect(&differences, other, path: path)
    }
}

/// Up to sixteen bytes from `offset` on.
private func excerpt(_ bytes: [UInt8], at offset: Int) -> String {
    let shown = bytes.dropFirst(offset).prefix(16)
    return hexadecimal(shown) + (offset + shown.count < bytes.count ? "…" : "")
}
