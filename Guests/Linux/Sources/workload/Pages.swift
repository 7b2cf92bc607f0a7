import Glibc

/// A thread's own share of the memory, and the generation that each of its pages must hold.
///
/// A page is 512 words: a seed made of its number and generation, plus 0, 1, 2 …. A page that was lost, torn, moved
/// or rolled back differs in all or many of them.
struct Pages: ~Copyable {
    static let wordCount = 512
    let count: Int
    let first: Int
    private let words: UnsafeMutablePointer<UInt64>
    private let generations: UnsafeMutablePointer<UInt32>

    /// Pages `first ..< first + count` of the whole, zero as yet; nil when there is no memory for them.
    init?(first: Int, count: Int) {
        let bytes = max(1, count) * (4096 + 4)
        let memory = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let memory, memory != MAP_FAILED else { return nil }
        self.first = first
        self.count = count
        // Safe: the mapping holds count pages and after them count 32-bit words, and is never unmapped.
        words = memory.assumingMemoryBound(to: UInt64.self)
        generations = (memory + max(1, count) * 4096).assumingMemoryBound(to: UInt32.self)
    }

    static func mix(_ value: UInt64) -> UInt64 {
        var x = value
        x ^= x >> 33
        x &*= 0xff51_afd7_ed55_8ccd
        x ^= x >> 33
        x &*= 0xc4ce_b9fe_1a85_ec53
        return x ^ (x >> 33)
    }

    private func seed(_ page: Int, _ generation: UInt32) -> UInt64 {
        Self.mix(UInt64(first + page) << 32 | UInt64(generation))
    }

    private func fill(_ page: Int) {
        let seed = seed(page, generations[page])
        let target = words + page * Self.wordCount
        for index in 0..<Self.wordCount {
            target[index] = seed &+ UInt64(index)
        }
    }

    func fillAll() {
        for page in 0..<count { fill(page) }
    }

    func write(_ page: Int) {
        generations[page] &+= 1
        fill(page)
    }

    func spoil(_ page: Int) {
        words[page * Self.wordCount + 7] ^= 1
    }

    func isIntact(_ page: Int) -> Bool {
        let seed = seed(page, generations[page])
        let source = words + page * Self.wordCount
        var difference: UInt64 = 0
        for index in 0..<Self.wordCount {
            difference |= source[index] ^ (seed &+ UInt64(index))
        }
        return difference == 0
    }

    /// How often pages were written, by their generations.
    func writeCount() -> Int {
        var sum = 0
        for page in 0..<count { sum &+= Int(generations[page]) }
        return sum
    }

    /// What is wrong with a page, for a person, and makes it right again, so that it is reported once.
    func repair(_ page: Int) -> String {
        let source = words + page * Self.wordCount
        let generation = generations[page]
        let seed = seed(page, generation)
        let wrong = (0..<Self.wordCount).filter { source[$0] != seed &+ UInt64($0) }
        var kind = "foreign"
        if (0..<Self.wordCount).allSatisfy({ source[$0] == 0 }) {
            kind = "zero"
        } else if let age = (1...min(1000, max(1, generation))).first(where: { age in
            age <= generation && source[wrong[0]] == self.seed(page, generation - age) &+ UInt64(wrong[0])
        }) {
            kind = "\(age) generations old"
        }
        let text =
            "page \(first + page) generation \(generation): \(kind), \(wrong.count) words differ from word "
            + "\(wrong.first ?? 0), which is \(String(source[wrong.first ?? 0], radix: 16))"
        fill(page)
        return text
    }
}
