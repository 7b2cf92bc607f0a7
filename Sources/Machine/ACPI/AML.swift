/// A writer of ACPI machine language: each function gives the bytes of one term, so that terms nest as they do in ASL.
///
///     AML.device("PWRB", AML.name("_HID", AML.string("PNP0C0C")))
///
/// See the ACPI specification, chapter 20. Names have four characters; "\\" and "." make paths.
enum AML {
    typealias Term = [UInt8]

    // MARK: Data

    /// An integer in its shortest form.
    static func integer(_ value: UInt64) -> Term {
        switch value {
        case 0: [0x00]
        case 1: [0x01]
        case 2...0xFF: [0x0A, UInt8(value)]
        case 0x100...0xFFFF: [0x0B] + littleEndian(value, 2)
        case 0x1_0000...0xFFFF_FFFF: [0x0C] + littleEndian(value, 4)
        default: [0x0E] + littleEndian(value, 8)
        }
    }

    /// - Precondition: `text` is ASCII without a zero.
    static func string(_ text: String) -> Term {
        precondition(text.utf8.allSatisfy { $0 > 0 && $0 < 0x80 }, text)
        return [0x0D] + Array(text.utf8) + [0]
    }

    /// A compressed identifier of three letters and four hexadecimal digits: "PNP0501".
    static func eisaID(_ text: String) -> Term {
        let characters = Array(text.utf8)
        precondition(characters.count == 7, text)
        let letters = characters.prefix(3).reduce(UInt32(0)) { $0 << 5 | UInt32($1 - 0x40) }
        guard let digits = UInt32(text.suffix(4), radix: 16) else { preconditionFailure(text) }
        return [0x0C] + littleEndian(UInt64((letters << 16 | digits).byteSwapped), 4)
    }

    static func package(_ elements: [Term]) -> Term {
        [0x12] + withLength([UInt8(elements.count)] + elements.joined())
    }

    // MARK: Objects

    static func scope(_ path: String, _ terms: Term...) -> Term {
        [0x10] + withLength(nameString(path) + terms.joined())
    }

    static func device(_ name: String, _ terms: Term...) -> Term {
        [0x5B, 0x82] + withLength(nameString(name) + terms.joined())
    }

    static func name(_ name: String, _ value: Term) -> Term { [0x08] + nameString(name) + value }

    static func method(_ name: String, argumentCount: UInt8, isSerialized: Bool, _ terms: Term...) -> Term {
        let flags = argumentCount | (isSerialized ? 8 : 0)
        return [0x14] + withLength(nameString(name) + [flags] + terms.joined())
    }

    /// A region of system memory.
    static func memoryRegion(_ name: String, at address: UInt64, byteCount: UInt64) -> Term {
        [0x5B, 0x80] + nameString(name) + [0x00] + integer(address) + integer(byteCount)
    }

    /// One field of 32 bits over a region; accessed as a whole, the rest written as zeros.
    static func field32(_ name: String, in region: String) -> Term {
        let doubleWordAccessWritingZeros: UInt8 = 0x43
        return [0x5B, 0x81] + withLength(nameString(region) + [doubleWordAccessWritingZeros] + nameString(name) + [32])
    }

    // MARK: Statements

    static let local0: Term = [0x60]

    static func path(_ path: String) -> Term { nameString(path) }
    static func store(_ value: Term, in target: Term) -> Term { [0x70] + value + target }
    static func and(_ left: Term, _ right: Term) -> Term { [0x7B] + left + right + [0x00] }
    static func equal(_ left: Term, _ right: Term) -> Term { [0x93] + left + right }
    static func when(_ condition: Term, _ terms: Term...) -> Term { [0xA0] + withLength(condition + terms.joined()) }
    static func notify(_ object: String, _ value: UInt64) -> Term { [0x86] + nameString(object) + integer(value) }

    // MARK: Resources

    /// A buffer of resource descriptors with its end tag.
    static func resources(_ descriptors: Term...) -> Term {
        let bytes = descriptors.joined() + [0x79, 0x00]
        return [0x11] + withLength(integer(UInt64(bytes.count)) + bytes)
    }

    static func memory32(at address: UInt64, byteCount: UInt64) -> Term {
        let readAndWrite: UInt8 = 1
        return [0x86, 0x09, 0x00, readAndWrite] + littleEndian(address, 4) + littleEndian(byteCount, 4)
    }

    /// One interrupt by its GSI; active high and not shared.
    static func interrupt(_ gsi: UInt32, isEdge: Bool) -> Term {
        let consumer: UInt8 = 1
        return [0x89, 0x06, 0x00, consumer | (isEdge ? 2 : 0), 0x01] + littleEndian(UInt64(gsi), 4)
    }

    /// A range of ports that cannot be moved.
    static func ports(at port: UInt64, byteCount: UInt8) -> Term {
        let decodes16Bits: UInt8 = 1
        return [0x47, decodes16Bits] + littleEndian(port, 2) + littleEndian(port, 2) + [0x00, byteCount]
    }

    /// An ISA interrupt: edge-triggered, active high.
    static func isaInterrupt(_ number: UInt32) -> Term { [0x22] + littleEndian(1 << UInt64(number), 2) }

    // MARK: Encoding

    static func littleEndian(_ value: UInt64, _ byteCount: Int) -> Term {
        (0..<byteCount).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
    }

    /// A path of names of four characters, short ones filled with underscores.
    private static func nameString(_ path: String) -> Term {
        var rest = Substring(path)
        var bytes: Term = []
        if rest.first == "\\" {
            bytes.append(0x5C)
            rest.removeFirst()
        }
        let names = rest.split(separator: ".").map { name in
            precondition(name.utf8.count <= 4, path)
            return Array(name.utf8) + [UInt8](repeating: 0x5F, count: 4 - name.utf8.count)
        }
        switch names.count {
        case 0: bytes.append(0x00)
        case 1: break
        case 2: bytes.append(0x2E)
        default: bytes += [0x2F, UInt8(names.count)]
        }
        return bytes + names.joined()
    }

    /// `body` after its length, which counts itself: 1 byte up to 63, else the low 4 bits and up to 3 bytes more.
    private static func withLength(_ body: Term) -> Term {
        if body.count + 1 <= 0x3F { return [UInt8(body.count + 1)] + body }
        for extra in 1...3 where body.count + 1 + extra < 1 << (4 + 8 * extra) {
            let length = body.count + 1 + extra
            return [UInt8(extra << 6 | length & 0xF)] + littleEndian(UInt64(length >> 4), extra) + body
        }
        preconditionFailure("a term of \(body.count) bytes")
    }
}
